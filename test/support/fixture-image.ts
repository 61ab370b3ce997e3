// SPDX-License-Identifier: Apache-2.0
/**
 * The images of the fixtures in test/regressions: they must never change, for theirs cannot be made again.
 */
import { ImageBuilder, noisePage, PAGE } from './image-builder.js';

const FRAMES = 1500;
const PERIOD = 64;

/** A raw image of 6 MiB whose pages compress well. */
export function fixtureImage(): Buffer {
  const image = new ImageBuilder()
    .header({ xml: XML })
    .ramStart({ 'pc.ram': FRAMES * PAGE })
    .part();
  for (let frame = 0; frame < FRAMES; frame++) {
    if (frame % 5 === 1) image.zero(frame);
    else
      image.page(
        frame,
        Buffer.alloc(PAGE, noisePage(frame).subarray(0, PERIOD)),
        frame === 0 ? 'pc.ram' : undefined,
      );
  }
  return image.eos().ramEnd().devices().build();
}

/** The same memory saved as sparse, but for zero pages in a row. */
export function sparseFixtureImage(): Buffer {
  const pages = new Map<number, Buffer>();
  for (let frame = 0; frame < FRAMES; frame++) {
    if (frame % 5 !== 1 && (frame < 600 || frame >= 1000))
      pages.set(frame, Buffer.alloc(PAGE, noisePage(frame).subarray(0, PERIOD)));
  }
  return new ImageBuilder()
    .header({ xml: XML, format: 6 })
    .mappedStart({ 'pc.ram': { frames: FRAMES, pages } })
    .ramEnd()
    .devices()
    .build();
}

const XML =
  "<domain type='kvm'><name>old guest</name><uuid>0f0e0d0c-0b0a-0908-0706-050403020100</uuid><memory "
  + "unit='MiB'>32</memory><os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type></os></domain>";
