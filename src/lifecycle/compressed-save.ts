// SPDX-License-Identifier: Apache-2.0
/** Saves that no start could be given back in time stay whole. */
import { ParsError } from '../errors.js';
import { isCompressed } from '../image/save-format.js';
import { readsCompressedFirst } from '../libvirt/reads-first.js';

/** Throws 'refused' for a compressed save whose stub libvirt would read before the hook is called. */
export async function refuseReadFirst(path: string, format: string): Promise<void> {
  if (!isCompressed(format)) return;
  const version = await readsCompressedFirst();
  if (version === null) return;
  throw new ParsError('refused', `${path} is ${whyReadFirst(format, version)}`, {
    hint:
      'save raw or sparse (save_image_format in qemu.conf); store a copy of this one with --keep-local; or '
      + 'offload it with --force, and "pars wake" its guest before each start',
  });
}

export function whyReadFirst(format: string, version: string): string {
  return (
    `saved as ${format}, and libvirt ${version} reads a compressed save before it calls the hook: its stub `
    + 'could not be refilled in time'
  );
}
