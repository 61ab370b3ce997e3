// SPDX-License-Identifier: Apache-2.0
/** Pages explained, and the files of the cache, as text. */
import { EXPENDABLE, PAGE_BYTES } from '../page-classes.js';
import type { CachedFile, Explanation, ExplainedPage, FileShare } from '../reader/page-map.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';
import { renderPairs, renderTable } from './table.js';
import { formatBytes, formatCount } from './units.js';

export function renderExplanation({ introspected, why, pages }: Explanation, colours: Colours): string {
  const parts = pages.map((page) => renderPairs(pairsOf(page), colours));
  if (!introspected)
    parts.unshift(`The guest was not introspected, so every page is critical: ${plain(why)}.`);
  return parts.join('\n\n');
}

function pairsOf({
  pfn,
  class: pageClass,
  reason,
  inImage,
  structPage,
  file,
}: ExplainedPage): [string, string][] {
  const pairs: [string, string][] = [['page', `${hex(pfn * PAGE_BYTES)} (frame ${formatCount(pfn)})`]];
  if (pageClass === null) return [...pairs, ['class', 'none: outside guest RAM']];
  pairs.push([
    'class',
    `${pageClass}, `
      + `${EXPENDABLE.has(pageClass) ? 'expendable' : 'critical'}${inImage ? '' : '; zero in the image'}`,
  ]);
  if (reason)
    pairs.push([
      'because',
      `it is ${plain(reason.text)} `
        + `(${plain(reason.name)}${reason.rule === '' ? '' : `, rule ${plain(reason.rule)}`})`,
    ]);
  if (structPage) {
    const { flags, flagNames, refcount, typeWord, mapping, index, head } = structPage;
    if (head !== pfn) pairs.push(['folio', `head ${hex(head * PAGE_BYTES)}; the fields are the head's`]);
    pairs.push(
      ['flags', `${flagNames.map(plain).join(' ') || 'none that is known'} (${flags})`],
      ['references', String(refcount)],
    );
    pairs.push([
      'map count',
      typeWord === 0xffffffff ? 'unmapped (-1)' : `${typeWord | 0} (0x${typeWord.toString(16)})`,
    ]);
    if (mapping !== '0x0') pairs.push(['mapping', `${mapping}, index ${Number(index)}`]);
  }
  if (file) pairs.push(['file', describeFile(file)]);
  return pairs;
}

function describeFile(file: CachedFile): string {
  return (
    `${nameOf(file)}, inode ${formatCount(Number(file.inode))}, `
    + `${formatBytes(Number(file.bytes))}, ${kindOf(file.mode)}, `
    + `${plain(file.fileSystem || 'unknown file system')} on ${plain(file.superBlock || '?')}`
  );
}

function nameOf({ path }: CachedFile): string {
  return path === null ? 'name not cached' : plain(path);
}

const KINDS: Record<number, string> = {
  0x8000: 'regular file',
  0x4000: 'directory',
  0x6000: 'block device',
  0xa000: 'symbolic link',
};

function kindOf(mode: number): string {
  return KINDS[mode & 0xf000] ?? 'internal inode';
}

/** The files that hold most of the clean cache. */
export function renderFiles(files: readonly FileShare[], colours: Colours): string {
  const rows = files.map(({ cleanPages, file }) => [
    formatBytes(cleanPages * PAGE_BYTES),
    formatBytes(Number(file.bytes)),
    String(Number(file.inode)),
    plain(`${file.fileSystem} ${file.superBlock}`),
    nameOf(file),
  ]);
  return renderTable(
    [
      { heading: 'CLEAN CACHE', align: 'right' },
      { heading: 'FILE SIZE', align: 'right' },
      { heading: 'INODE', align: 'right' },
      { heading: 'ON' },
      { heading: 'FILE' },
    ],
    rows,
    colours,
  );
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
