// SPDX-License-Identifier: Apache-2.0
/** Stubs that the installed libvirt could not start, because it reads them before it calls the hook. */
import { ImageFile } from '../image/image-file.js';
import { liveStubs } from '../image/live-stubs.js';
import { isCompressed } from '../image/save-format.js';
import { StubRegistry } from '../image/stub-registry.js';
import { readsCompressedFirst } from '../libvirt/reads-first.js';
import { probeImage } from '../reader/reader.js';
import { type Check, warning } from './check.js';

/** Nothing where libvirt asks first. */
export async function checkCompressedStubs(stateDir: string): Promise<Check[]> {
  const version = await readsCompressedFirst();
  if (version === null) return [];
  const images: string[] = [];
  for (const { image } of await liveStubs(new StubRegistry(stateDir)))
    if (await isOfCompressed(image)) images.push(image);
  if (images.length === 0) return [];
  return [
    warning(
      'compressed stubs',
      `libvirt ${version} reads them before it calls the hook, and so refuses to start: ${images.join(', ')}`,
      'before each start: pars wake GUEST (or pars hydrate IMAGE); nothing is lost',
    ),
  ];
}

async function isOfCompressed(path: string): Promise<boolean> {
  const file = await ImageFile.open(path);
  try {
    return isCompressed((await probeImage(file.fd)).format);
  } finally {
    await file.close();
  }
}
