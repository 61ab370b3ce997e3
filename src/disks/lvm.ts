// SPDX-License-Identifier: Apache-2.0
/**
 * LVM's metadata on a physical volume: its text, and which logical volumes lie on it one piece after another,
 * so that what is in them can be looked at. (LVM2 lib/format_text/layout.h; the text is a tree of names,
 * values and lists.)
 */
import type { DiskBytes, Extent } from './disk-bytes.js';

const SECTOR = 512;
const LABEL = 'LABELONE';
const METADATA_MAGIC = ' LVM2 x[5A%r0N*>';
const MAX_TEXT = 4 << 20;
const MAX_VOLUMES = 1024;
const MAX_SEGMENTS = 4096;
const MAX_NODES = 200_000;

export interface PhysicalVolume {
  /** Header of the metadata area and the text it points at. */
  metadata: Buffer;
  /** Where logical volumes lie that begin on this disk. */
  volumes: Extent[][];
}

/** Null when the volume is none of LVM's. `head`: the first 64 KiB of `disk`. */
export async function physicalVolume(disk: DiskBytes, head: Buffer): Promise<PhysicalVolume | null> {
  const label = [0, 1, 2, 3]
    .map((n) => n * SECTOR)
    .find((at) => head.toString('latin1', at, at + 8) === LABEL);
  if (label === undefined || head.length < label + SECTOR) return null;
  const header = label + head.readUInt32LE(label + 20);
  const area = metadataArea(head, header);
  if (area === null) return { metadata: head.subarray(label, label + SECTOR), volumes: [] };
  const metadata = await readMetadata(disk, area);
  const id = head.toString('latin1', header, header + 32);
  return { metadata, volumes: volumesOn(parse(metadata.toString('utf8', SECTOR)), id) };
}

interface Area {
  start: number;
  bytes: number;
}

/**
 * Behind the identity and length stand two lists, of data areas and of metadata areas, each ended by zeros.
 */
function metadataArea(head: Buffer, header: number): Area | null {
  let at = header + 40,
    lists = 0;
  for (; at + 16 <= head.length; at += 16) {
    const start = Number(head.readBigUInt64LE(at)),
      bytes = Number(head.readBigUInt64LE(at + 8));
    if (start === 0 && ++lists === 2) return null;
    if (start !== 0 && lists === 1) return { start, bytes };
  }
  return null;
}

/** The area's first sector, then the text: the area is a ring behind that sector. */
async function readMetadata(disk: DiskBytes, { start, bytes }: Area): Promise<Buffer> {
  const header = await disk.read(start, SECTOR);
  if (header.length < SECTOR || header.toString('latin1', 4, 20) !== METADATA_MAGIC) return header;
  const offset = Number(header.readBigUInt64LE(40)),
    length = Number(header.readBigUInt64LE(48));
  if (offset < SECTOR || offset >= bytes || length > Math.min(bytes, MAX_TEXT)) return header;
  const first = Math.min(length, bytes - offset);
  const rest = length > first ? await disk.read(start + SECTOR, length - first) : Buffer.alloc(0);
  return Buffer.concat([header, await disk.read(start + offset, first), rest]);
}

type Value = string | number | Value[] | Tree;
interface Tree {
  [name: string]: Value;
}

const SIGNS = '{}[]=,';

/**
 * Words, quoted texts with their quote in front, and signs. In one pass: the text lies on a disk that a guest
 * writes.
 */
function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  for (let at = 0; at < text.length && tokens.length < MAX_NODES;) {
    const from = at;
    const first = text.charAt(at++);
    if (first === '#') while (at < text.length && text.charAt(at) !== '\n') at++;
    else if (first === '"') {
      while (at < text.length && text.charAt(at) !== '"') at += text.charAt(at) === '\\' ? 2 : 1;
      tokens.push(text.slice(from, at++));
    } else if (SIGNS.includes(first)) tokens.push(first);
    else if (isWord(first)) {
      while (at < text.length && isWord(text.charAt(at))) at++;
      tokens.push(text.slice(from, at));
    }
  }
  return tokens;
}

function isWord(character: string): boolean {
  return /[A-Za-z0-9_.+-]/.test(character);
}

/** As far as it makes sense. */
function parse(text: string): Tree {
  const tokens = tokensOf(text);
  let at = 0;
  const scalar = (token: string): Value => (token.startsWith('"') ? token.slice(1) : Number(token));
  const list = (): Value[] => {
    const values: Value[] = [];
    at++;
    for (; at < tokens.length && tokens[at] !== ']'; at++)
      if (tokens[at] !== ',') values.push(scalar(tokens[at] ?? ''));
    at++;
    return values;
  };
  const tree = (depth: number): Tree => {
    const found: Tree = Object.create(null) as Tree;
    while (at < tokens.length && tokens[at] !== '}') {
      const name = tokens[at++] ?? '',
        sign = tokens[at++];
      if (sign === '{' && depth < 16) found[name] = tree(depth + 1);
      else if (sign === '=' && tokens[at] === '[') found[name] = list();
      else if (sign === '=') found[name] = scalar(tokens[at++] ?? '');
      else break;
    }
    at++;
    return found;
  };
  return tree(0);
}

function volumesOn(text: Tree, id: string): Extent[][] {
  const group = Object.values(text)
    .map(treeOf)
    .find((one) => one['physical_volumes'] !== undefined);
  if (group === undefined) return [];
  const disks = Object.entries(treeOf(group['physical_volumes']));
  const [name, disk] = disks.find(([, one]) => textOf(treeOf(one)['id']).replaceAll('-', '') === id) ?? [];
  const extent = numberOf(group['extent_size']) * SECTOR,
    start = numberOf(treeOf(disk)['pe_start']) * SECTOR;
  if (name === undefined || !(extent > 0) || !(start > 0)) return [];
  const volumes = Object.values(treeOf(group['logical_volumes'])).slice(0, MAX_VOLUMES);
  const placed = volumes.map((volume) => extentsOf(treeOf(volume), name, start, extent));
  return placed.filter((extents) => extents.some(({ logical }) => logical === 0));
}

/** Pieces of a linear volume that lie on the disk called `name`. */
function extentsOf(volume: Tree, name: string, start: number, extent: number): Extent[] {
  const segments = Object.entries(volume)
    .filter(([key]) => /^segment\d+$/.test(key))
    .map(([, one]) => treeOf(one));
  return segments.slice(0, MAX_SEGMENTS).flatMap((segment) => {
    const stripes = segment['stripes'];
    if (
      segment['type'] !== 'striped'
      || segment['stripe_count'] !== 1
      || !Array.isArray(stripes)
      || stripes[0] !== name
    )
      return [];
    const piece = {
      logical: numberOf(segment['start_extent']) * extent,
      bytes: numberOf(segment['extent_count']) * extent,
      physical: start + numberOf(stripes[1]) * extent,
    };
    return Object.values(piece).every((number) => Number.isSafeInteger(number) && number >= 0) ? [piece] : [];
  });
}

function treeOf(value: Value | undefined): Tree {
  return typeof value === 'object' && !Array.isArray(value) ? value : {};
}

function numberOf(value: Value | undefined): number {
  return typeof value === 'number' ? value : NaN;
}

function textOf(value: Value | undefined): string {
  return typeof value === 'string' ? value : '';
}
