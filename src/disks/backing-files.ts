// SPDX-License-Identifier: Apache-2.0
/**
 * The files that a qcow2 image reads through to: its backing file, that one's, and so on, and a data file
 * that holds its clusters. From the images' own headers (QEMU, interop/qcow2 in its docs): a guest cannot
 * write those.
 */
import { dirname, resolve } from 'node:path';
import { ifThere } from '../system/absence.js';
import type { Reason } from './blockdev.js';
import { openDisk } from './disk-bytes.js';

const MAGIC = 'QFI\xfb';
/** Header, its extensions and the backing file's name lie in the first cluster. */
const MAX_HEADER = 65_536;
const MAX_NAME = 1023;
const BACKING_FORMAT = 0xe2792aca;
const DATA_FILE = 0x44415441;
/** Longer chains are followed as far as this. */
const MAX_FILES = 64;

interface Header {
  backing: string | null;
  /** Its format; null when the image does not say, and then nobody may guess. */
  backingFormat: string | null;
  data: string | null;
}

export interface FileBelow {
  path: string;
  /** Null when no image says it. */
  format: string | null;
}

export interface Below {
  /** Local files, nearest first. */
  files: FileBelow[];
  /**
   * What the last of them reads through to that is not a local file ("nbd://host/disk"), or itself when
   * nobody here knows what it reads through to; null when there is no such thing.
   */
  beyond: string | null;
}

/** What is below `path`; nothing when it is not a qcow2 image. */
export async function filesBelow(path: string): Promise<Below> {
  const files = new Map<string, FileBelow>();
  let beyond: string | null = null;
  for (let at: string | null = path; at !== null;) {
    if (files.size >= MAX_FILES)
      return { files: [...files.values()], beyond: `more than ${MAX_FILES} files` };
    const header: Header | null = await lookBelow(at);
    const data = localPath(header?.data ?? null, at),
      backing = localPath(header?.backing ?? null, at);
    if ((header?.data && data === null) || (header?.backing && backing === null))
      beyond = header.backing ?? header.data;
    if (data !== null && data !== path && !files.has(data)) files.set(data, { path: data, format: 'raw' });
    const isNew = backing !== null && backing !== path && !files.has(backing);
    const format = header?.backingFormat ?? null;
    if (isNew) files.set(backing, { path: backing, format });
    // Older tools did not tell it.
    const mayBeQcow2 = format === null || format === 'qcow2';
    // What an image of another format stands on is not read here.
    if (isNew && !mayBeQcow2 && format !== 'raw') beyond = backing;
    at = isNew && mayBeQcow2 ? backing : null;
  }
  return { files: [...files.values()], beyond };
}

/** An image of a chain. */
export interface Layer {
  path: string;
  format: 'qcow2' | 'raw';
  /** A raw file that holds its clusters; null when it holds them itself. */
  data: string | null;
}

/**
 * A qcow2 image and all that it stands on, the guest's own first. A reason when not all of it is local files
 * whose formats are told.
 */
export async function layersOf(path: string): Promise<Layer[] | Reason> {
  const layers: Layer[] = [];
  let at: FileBelow | null = { path, format: 'qcow2' };
  while (at !== null) {
    if (layers.length >= MAX_FILES) return { reason: `it stands on more than ${MAX_FILES} files` };
    if (at.format === 'raw') return [...layers, { path: at.path, format: 'raw', data: null }];
    if (at.format !== 'qcow2') return { reason: `the format of ${at.path}, below it, is not told` };
    const header = await lookBelow(at.path);
    if (header === null) return { reason: `${at.path} is not a qcow2 image` };
    const data = localPath(header.data, at.path),
      backing = localPath(header.backing, at.path);
    if ((header.data !== null && data === null) || (header.backing !== null && backing === null))
      return { reason: `${at.path} stands on something that is not a local file` };
    layers.push({ path: at.path, format: 'qcow2', data });
    at = backing === null ? null : { path: backing, format: header.backingFormat };
  }
  return layers;
}

async function lookBelow(path: string): Promise<Header | null> {
  const file = await ifThere(path, openDisk, null);
  if (file === null) return null;
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_HEADER), 0, MAX_HEADER, 0);
    return parseHeader(buffer.subarray(0, bytesRead));
  } finally {
    await file.close();
  }
}

/** Null when it is not a qcow2 image, or one whose header lies. */
function parseHeader(data: Buffer): Header | null {
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
 * Null for what is not a path: "nbd://host/disk", "json:{...}". A relative one counts from the image that
 * names it.
 */
function localPath(name: string | null, image: string): string | null {
  const plain = name?.replace(/^file:(?!\/\/)/, '');
  if (!plain || /^[A-Za-z][A-Za-z0-9+.-]*:/.test(plain)) return null;
  return resolve(dirname(image), plain);
}
