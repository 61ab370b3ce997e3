// SPDX-License-Identifier: Apache-2.0
/** Save images as libvirt writes them through a compressor, and what they stand for. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { CompressedFormat } from '../../src/image/save-format.js';

/** In the order of the numbers in the header, from 1. */
export const COMPRESSED_FORMATS = [
  'gzip',
  'bzip2',
  'xz',
  'lzop',
  'zstd',
] as const satisfies readonly CompressedFormat[];
const MOST = 2 ** 30;

/** The same image saved through a compressor, as libvirt calls it. */
export function compressImage(raw: Buffer, format: CompressedFormat): Buffer {
  const offset = streamOffset(raw),
    head = Buffer.from(raw.subarray(0, offset));
  head.writeUInt32LE(1 + COMPRESSED_FORMATS.indexOf(format), 28);
  const { status, stdout, stderr } = spawnSync(format, ['-c'], {
    input: raw.subarray(offset),
    maxBuffer: MOST,
  });
  if (status !== 0) throw new Error(`${format} failed: ${stderr.toString()}`);
  return Buffer.concat([head, stdout]);
}

/**
 * The raw image that a file stands for, by the compressor itself; null when it gives up. A raw image is its
 * own.
 */
export function rawImage(path: string): Buffer | null {
  const file = readFileSync(path),
    format = formatOf(file);
  if (format === undefined) return file;
  const { status, stream } = unpack(file, format);
  if (status !== 0) return null;
  const head = Buffer.from(file.subarray(0, streamOffset(file)));
  head.writeUInt32LE(0, 28);
  return Buffer.concat([head, stream]);
}

/** What QEMU would get to read of a compressed image, or of its stub. */
export function streamOf(path: string): Buffer {
  const file = readFileSync(path),
    format = formatOf(file);
  if (format === undefined) throw new Error(`${path} is not compressed`);
  return unpack(file, format).stream;
}

function formatOf(file: Buffer): CompressedFormat | undefined {
  return COMPRESSED_FORMATS[file.readUInt32LE(28) - 1];
}

function unpack(file: Buffer, format: CompressedFormat): { status: number | null; stream: Buffer } {
  const { status, stdout } = spawnSync(format, ['-dc'], {
    input: file.subarray(streamOffset(file)),
    maxBuffer: MOST,
  });
  return { status, stream: stdout };
}

function streamOffset(image: Buffer): number {
  return 92 + image.readUInt32LE(20);
}
