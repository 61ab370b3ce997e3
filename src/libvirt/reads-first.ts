// SPDX-License-Identifier: Apache-2.0
/**
 * Whether libvirt reads a compressed save before it calls the hook. Up to 11.3 the decompressor is started
 * after `restore begin`; 12.8 starts it before (both measured), so it has read a stub by the time that
 * anybody could refill it. Of the versions between nobody has looked: they are taken for those that do.
 */
import { ParsError } from '../errors.js';
import { isAtLeast, type Version } from '../system/version.js';
import { libvirtVersion } from './daemons.js';

/** The first that is not known to ask. */
const READS_SINCE: Version = [11, 4];

/** The version of a libvirt that does, or may; null for one that does not, and where there is no libvirt. */
export async function readsCompressedFirst(): Promise<string | null> {
  const version = await libvirtVersion().catch((error: unknown) => {
    if (error instanceof ParsError && error.kind === 'missing') return null;
    throw error;
  });
  if (version === null) return null;
  return isAtLeast(version, READS_SINCE) ? version.join('.') : null;
}
