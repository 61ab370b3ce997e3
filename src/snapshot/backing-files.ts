// SPDX-License-Identifier: Apache-2.0
/**
 * The files that a qcow2 image reads through to: its backing file, that one's, and so on, and a data file
 * that holds its clusters. From the images' own headers (QEMU, interop/qcow2 in its docs): a guest cannot write
 * those.
 */
import { open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';

const MAGIC = 'QFI\xfb';
/** Header, its extensions and the backing file's name lie in the first cluster. */
const MAX_HEADER = 65_536;
const MAX_NAME = 1023;
const BACKING_FORMAT = 0xe2792aca;
const DATA_FILE = 0x44415441;
/** Longer chains are told as far as this. */
const MAX_FILES = 64;

interface Below {
  backing: string | null;
  /** Its format; null when the image does not say, and then nobody may guess. */
  backingFormat: string | null;
  data: string | null;
}

/** Paths of local files, nearest first; none when `path` is no qcow2 image or cannot be read. */
export async function filesBelow(path: string): Promise<string[]> {
  const seen = new Set([path]);
  for (let at: string | null = path; at !== null && seen.size <= MAX_FILES;) {
    const below: Below | null = await lookBelow(at);
    const data = localPath(below?.data ?? null, at),
      backing = localPath(below?.backing ?? null, at);
    if (data !== null) seen.add(data);
    const isNew = backing !== null && !seen.has(backing);
    if (backing !== null) seen.add(backing);
    at = isNew && below?.backingFormat === 'qcow2' ? backing : null;
  }
  return [...seen].slice(1);
}

async function lookBelow(path: string): Promise<Below | null> {
  const file = await open(path, 'r').catch(() => null);
  if (file === null) return null;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_HEADER), 0, MAX_HEADER, 0);
    return parseHeader(buffer.subarray(0, bytesRead));
  } catch {
    return null;
  } finally {
    await file.close();
  }
}

/** Null when it is no qcow2 image, or one whose header lies. */
function parseHeader(data: Buffer): Below | null {
  if (data.length < 104 || data.toString('latin1', 0, 4) !== MAGIC) return null;
  const version = data.readUInt32BE(4);
  const nameAt = Number(data.readBigUInt64BE(8)),
    nameBytes = data.readUInt32BE(16);
  if (nameBytes > MAX_NAME || nameAt + nameBytes > data.length) return null;
  const extensions = extensionsOf(data, version < 3 ? 72 : data.readUInt32BE(100));
  return {
    backing: nameAt === 0 ? null : data.toString('utf8', nameAt, nameAt + nameBytes),
    backingFormat: extensions.get(BACKING_FORMAT) ?? null,
    data: extensions.get(DATA_FILE) ?? null,
  };
}

/** Type to text; as far as they make sense. */
function extensionsOf(data: Buffer, from: number): Map<number, string> {
  const found = new Map<number, string>();
  for (let at = from; at + 8 <= data.length;) {
    const type = data.readUInt32BE(at),
      bytes = data.readUInt32BE(at + 4);
    if (type === 0 || at + 8 + bytes > data.length) break;
    found.set(type, data.toString('utf8', at + 8, at + 8 + bytes));
    at += 8 + Math.ceil(bytes / 8) * 8;
  }
  return found;
}

/**
 * Null for what is no path: "nbd://host/disk", "json:{...}". A relative one counts from the image that names
 * it.
 */
function localPath(name: string | null, image: string): string | null {
  const plain = name?.replace(/^file:(?!\/\/)/, '');
  if (!plain || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(plain)) return null;
  return resolve(dirname(image), plain);
}
