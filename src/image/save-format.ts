// SPDX-License-Identifier: Apache-2.0
/**
 * The formats in which libvirt saves QEMU's stream through a compressor (`save_image_format` of qemu.conf).
 * Header and XML stand before it as they are. The programs are those that libvirt itself runs, so they are
 * there wherever it can read such an image.
 */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { isForbidden, isMissing } from '../system/absence.js';
import { ParsError } from '../errors.js';

interface Programs {
  /** As libvirt calls it when it reads. */
  unpack: readonly string[];
  /** Fast: a guest that resumes waits for it. */
  pack: readonly string[];
}

const FORMATS = {
  gzip: { unpack: ['gzip', '-dc'], pack: ['gzip', '-c', '-1'] },
  bzip2: { unpack: ['bzip2', '-dc'], pack: ['bzip2', '-c', '-1'] },
  xz: { unpack: ['xz', '-dc'], pack: ['xz', '-c', '-0', '-T0'] },
  lzop: { unpack: ['lzop', '-dc', '--ignore-warn'], pack: ['lzop', '-c', '-1'] },
  zstd: { unpack: ['zstd', '-dc'], pack: ['zstd', '-q', '-c', '-1', '-T0'] },
} as const satisfies Record<string, Programs>;

export type CompressedFormat = keyof typeof FORMATS;

/** Where libvirt's daemon finds them too. */
export const PROGRAM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Whether images of this format, as the reader names it, can be unpacked. */
export function isCompressed(format: string): format is CompressedFormat {
  return Object.hasOwn(FORMATS, format);
}

/** The command that unpacks a format or packs into it. Throws 'refused' when its program is not installed. */
export function commandFor(format: CompressedFormat, direction: keyof Programs): readonly string[] {
  const command = FORMATS[format][direction];
  if (PROGRAM_PATH.some((directory) => isExecutable(join(directory, command[0])))) return command;
  throw new ParsError('refused', `the image is saved as ${format}, but ${command[0]} is not installed here`, {
    hint: `install ${command[0]}: libvirt needs it too to start the guest`,
  });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch (error) {
    if (isMissing(error) || isForbidden(error)) return false;
    throw error;
  }
}
