// SPDX-License-Identifier: Apache-2.0
/**
 * What the reader shows people beside the counts: a map of memory, the largest files of the cache, single
 * pages explained. Checked like every answer (R1).
 */
import type { ReadableDisk } from '../disks/guest-disks.js';
import { PAGE_BYTES, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import type { DomainFacts, ImageFacts, InspectionFacts, ReferenceFacts } from './inspection.js';
import {
  badAnswer,
  count,
  domainFacts,
  type Fields,
  fields,
  inspectionFacts,
  list,
  text,
} from './reader-answers.js';
import { MESSAGE, parseJson, Reader, type ReaderOptions } from './reader.js';
import { factsOfImage } from './save-header.js';

const MAX_CELLS = 65_536;
export const MAX_EXPLAINED = 1024;
const WORD = /^0x[0-9a-f]{1,16}$/;

/** Guest-physical memory in cells of equal size, each of the class that most of its pages have. */
export interface MemoryMap {
  cellPages: number;
  /** Ascending; none when the guest's layout is not known. The last cell of a segment may be short. */
  segments: { gpa: number; bytes: number; runs: (readonly [pageClass: PageClass, cells: number])[] }[];
}

export interface CachedFile {
  /** 64-bit words are hex text. */
  inode: string;
  bytes: string;
  mode: number;
  fileSystem: string;
  superBlock: string;
  /** Below the root of its file system; null when the guest has forgotten it. */
  path: string | null;
}

export interface FileShare {
  cleanPages: number;
  file: CachedFile;
}

export interface MapAndFiles {
  map: MemoryMap;
  /** The files with most clean cache, the largest first. */
  files: FileShare[];
}

export interface ExplainedPage {
  pfn: number;
  /** Null outside guest RAM. */
  class: PageClass | null;
  reason: { name: string; rule: string; text: string } | null;
  inImage: boolean;
  /** The fields read; null without a struct page, or when the guest was not introspected. */
  structPage: {
    flags: string;
    flagNames: string[];
    refcount: number;
    typeWord: number;
    mapping: string;
    index: string;
    private: string;
    head: number;
  } | null;
  file: CachedFile | null;
}

export interface Explanation {
  introspected: boolean;
  /** Why not. */
  why: string;
  pages: ExplainedPage[];
}

export type Look = { inspection: InspectionFacts; references: ReferenceFacts | null } & MapAndFiles;

/** The look inside of a report, with its page map and files. */
export async function mapImage(
  imageFd: number,
  options: ReaderOptions = {},
  disks: readonly ReadableDisk[] = [],
): Promise<{ image: ImageFacts } & Look> {
  const whatIsThere = async (reader: Reader): Promise<{ image: ImageFacts } & Look> => {
    const image = factsOfImage(parseJson(await reader.expect(MESSAGE.image)), imageFd);
    return { image, ...(await look(reader, image.bytes, disks)) };
  };
  return withReader('map', imageFd, { ...options, disks }, whatIsThere);
}

/**
 * Where a running QEMU keeps its guest's RAM, and on which page tables its vCPUs run. Addresses and registers
 * as hex text.
 */
export interface LiveGuest {
  xml: string;
  blocks: { name: string; bytes: string; address: string }[];
  vcpus: { cr0: string; cr3: string; cr4: string }[];
}

/** The same of a guest that runs, from its /proc/PID/mem: all figures are estimates. */
export async function mapLiveGuest(
  memoryFd: number,
  guest: LiveGuest,
  options: ReaderOptions = {},
): Promise<{ domain: DomainFacts } & Look> {
  return withReader('live', memoryFd, options, async (reader) => {
    reader.send(MESSAGE.query, guest);
    const { domain } = fields(parseJson(await reader.expect(MESSAGE.image)), 'the guest') as {
      domain?: unknown;
    };
    return { domain: domainFacts(domain), ...(await look(reader, 0)) };
  });
}

/** `pages` pages from guest page frame `first` on. */
export async function explainImage(
  imageFd: number,
  first: number,
  pages: number,
  options: ReaderOptions = {},
): Promise<Explanation> {
  return withReader('explain', imageFd, options, async (reader) => {
    reader.send(MESSAGE.query, { first, pages });
    factsOfImage(parseJson(await reader.expect(MESSAGE.image)), imageFd);
    return explanation(parseJson(await reader.expect(MESSAGE.explanation)), first, pages);
  });
}

async function withReader<T>(
  mode: 'map' | 'live' | 'explain',
  fd: number,
  { disks = [], ...options }: ReaderOptions & { disks?: readonly ReadableDisk[] },
  work: (reader: Reader) => Promise<T>,
): Promise<T> {
  const reader = new Reader(mode, fd, options, disks);
  try {
    return await work(reader);
  } finally {
    await reader.close();
  }
}

async function look(reader: Reader, imageBytes: number, disks: readonly ReadableDisk[] = []): Promise<Look> {
  const inspection = inspectionFacts(parseJson(await reader.expect(MESSAGE.inspection)), imageBytes);
  const references = await reader.references(disks, inspection);
  return { inspection, references, ...mapAndFiles(parseJson(await reader.expect(MESSAGE.map))) };
}

function mapAndFiles(value: unknown): MapAndFiles {
  const from = fields(value, 'the map');
  const cellPages = count(from, 'cellPages');
  if (cellPages === 0) throw badAnswer('a map without cells');
  let cells = 0;
  const segments = list(from, 'segments').map((entry) => {
    const segment = fields(entry, 'a segment'),
      gpa = count(segment, 'gpa'),
      bytes = count(segment, 'bytes');
    const runs = segment['runs'];
    if (!Array.isArray(runs) || runs.length > MAX_CELLS) throw badAnswer('a segment without runs');
    const checked = runs.map(mapRun),
      sum = checked.reduce((total, [, length]) => total + length, 0);
    if (sum !== Math.ceil(bytes / PAGE_BYTES / cellPages))
      throw badAnswer('runs that do not add up to their segment');
    cells += sum;
    return { gpa, bytes, runs: checked };
  });
  if (cells > 2 * MAX_CELLS) throw badAnswer(`a map of ${cells} cells`);
  return { map: { cellPages, segments }, files: list(from, 'files').map(fileShare) };
}

function mapRun(run: unknown): readonly [PageClass, number] {
  const [index, cells] = Array.isArray(run) ? (run as unknown[]) : [];
  const pageClass = typeof index === 'number' ? PAGE_CLASSES[index] : undefined;
  if (pageClass === undefined || typeof cells !== 'number' || !Number.isSafeInteger(cells) || cells <= 0)
    throw badAnswer('a run of no class or length');
  return [pageClass, cells];
}

function fileShare(value: unknown): FileShare {
  const from = fields(value, 'a share');
  return { cleanPages: count(from, 'cleanPages'), file: cachedFile(from['file']) };
}

function word(from: Fields, key: string): string {
  const value = text(from, key);
  if (!WORD.test(value)) throw badAnswer(`${key} is not a word`);
  return value;
}

function cachedFile(value: unknown): CachedFile {
  const from = fields(value, 'a file'),
    path = text(from, 'path');
  return {
    inode: word(from, 'inode'),
    bytes: word(from, 'bytes'),
    mode: count(from, 'mode'),
    fileSystem: text(from, 'fileSystem'),
    superBlock: text(from, 'superBlock'),
    path: path === '' ? null : path,
  };
}

function explanation(value: unknown, first: number, pages: number): Explanation {
  const from = fields(value, 'the explanation');
  const shown = list(from, 'pages').map(explainedPage);
  if (shown.length !== pages || shown.some(({ pfn }, i) => pfn !== first + i))
    throw badAnswer('other pages than were asked for');
  return { introspected: from['introspected'] === true, why: text(from, 'why'), pages: shown };
}

function explainedPage(value: unknown): ExplainedPage {
  const from = fields(value, 'a page'),
    reason = from['reason'] === null ? null : fields(from['reason'], 'a reason');
  return {
    pfn: count(from, 'pfn'),
    class: PAGE_CLASSES.find((name) => name === from['class']) ?? null,
    reason: reason && { name: text(reason, 'name'), rule: text(reason, 'rule'), text: text(reason, 'text') },
    inImage: from['inImage'] === true,
    structPage: from['structPage'] === null ? null : structPage(fields(from['structPage'], 'a struct page')),
    file: from['file'] === null ? null : cachedFile(from['file']),
  };
}

function structPage(from: Fields): NonNullable<ExplainedPage['structPage']> {
  const refcount = from['refcount'];
  if (typeof refcount !== 'number' || !Number.isSafeInteger(refcount))
    throw badAnswer('a reference count that is none');
  const flagNames = list(from, 'flagNames').map((name) => text({ name }, 'name'));
  return {
    flags: word(from, 'flags'),
    flagNames,
    refcount,
    typeWord: count(from, 'typeWord'),
    mapping: word(from, 'mapping'),
    index: word(from, 'index'),
    private: word(from, 'private'),
    head: count(from, 'head'),
  };
}
