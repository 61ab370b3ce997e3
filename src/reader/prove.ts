// SPDX-License-Identifier: Apache-2.0
/** Whether the reader can do its work here: it must start in its jail, and call an empty file what it is. */
import { open } from 'node:fs/promises';
import { ParsError } from '../errors.js';
import { ImageError, probeImage } from './reader.js';

export async function proveReader(): Promise<void> {
  const nothing = await open('/proc/self/cmdline', 'r');
  const [probed] = await Promise.allSettled([probeImage(nothing.fd)]);
  await nothing.close();
  if (probed.status === 'fulfilled')
    throw new ParsError('internal', 'the reader takes an empty file for an image');
  if (!(probed.reason instanceof ImageError)) throw probed.reason;
}
