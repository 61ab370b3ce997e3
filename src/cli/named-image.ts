// SPDX-License-Identifier: Apache-2.0
/** Arguments that are not a save image at all. */
import { ImageFile } from '../image/image-file.js';
import { probeImage } from '../reader/reader.js';

/** What libvirt's images begin with, those that it has not finished too. */
const MAGIC = 'LibvirtQemud';

/**
 * Refuses a file that is none before there is a job about it: nothing has failed that anybody could make
 * good, yet `pars status` would tell of it for as long as the file is there. A damaged image is a job, and
 * fails as one.
 */
export async function refuseNoImage(path: string, signal: AbortSignal): Promise<void> {
  const file = await ImageFile.open(path);
  try {
    if ((await file.read(0, MAGIC.length)).toString('latin1') !== MAGIC)
      await probeImage(file.fd, { signal });
  } finally {
    await file.close();
  }
}
