// SPDX-License-Identifier: Apache-2.0
/** Snapshots as people and programs see them. */
import type { Host } from '../system/host.js';
import type { Manifest } from '../snapshot/manifest.js';
import { EXPENDABLE, PAGE_BYTES, PAGE_CLASSES } from '../page-classes.js';
import type { Discarded } from '../lifecycle/prune.js';
import { ownerOf, type SnapshotEntry } from '../snapshot/snapshots.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';
import { type Column, renderPairs, renderTable } from './table.js';
import { formatBytes, formatCount } from './units.js';

const LIST_COLUMNS: readonly Column[] = [
  { heading: 'SNAPSHOT' },
  { heading: 'GUEST' },
  { heading: 'STATE' },
  { heading: 'CREATED' },
  { heading: 'IMAGE', align: 'right' },
  { heading: 'STORED', align: 'right' },
  { heading: 'ON DISK', align: 'right' },
  { heading: 'POLICY' },
];

/** One snapshot for `list --json`. */
export function snapshotJson(entry: SnapshotEntry, host: Host | null): Record<string, unknown> {
  if (entry.condition === 'incomplete') return { snapshot: entry.snapshot, state: 'incomplete' };
  if (entry.condition === 'unreadable') {
    return {
      snapshot: entry.snapshot,
      state: 'unreadable',
      error: { kind: entry.error.kind, message: entry.error.message, hint: entry.error.hint ?? null },
    };
  }
  const { domain, created, image, policy, storedBytes, sequence, guest, references } = entry.manifest;
  const { machineId, host: name } = ownerOf(entry);
  return {
    snapshot: entry.snapshot,
    state: entry.state,
    foreign: isForeign(entry, host),
    domain,
    created,
    sequence,
    image: { path: image.path, bytes: image.bytes },
    guest,
    policy: policy.name,
    storedBytes,
    diskBytes: (references?.pages ?? 0) * PAGE_BYTES,
    owner: { machineId, host: name },
  };
}

export function renderSnapshots(
  entries: readonly SnapshotEntry[],
  host: Host | null,
  colours: Colours,
  discarded: ReadonlyMap<string, Discarded> = new Map(),
): string {
  return renderTable(
    LIST_COLUMNS,
    entries.map((entry) => listRow(entry, host, colours, discarded.get(entry.snapshot))),
    colours,
  );
}

/** Everything about one snapshot. */
export function renderSnapshot(entry: SnapshotEntry, host: Host | null, colours: Colours): string {
  if (entry.condition !== 'whole') {
    return renderPairs(
      [
        ['snapshot', entry.snapshot],
        ['state', `${entry.condition}: it has no manifest and cannot be restored`],
      ],
      colours,
    );
  }
  return `${renderPairs(pairsOf(entry, host), colours)}\n\n${classTable(entry.manifest, colours)}`;
}

function listRow(entry: SnapshotEntry, host: Host | null, colours: Colours, discarded?: Discarded): string[] {
  if (entry.condition === 'incomplete')
    return [entry.snapshot, '', colours.yellow('incomplete'), '', '', '', '', ''];
  if (entry.condition === 'unreadable')
    return [entry.snapshot, '', colours.red(`unreadable (${entry.error.kind})`), '', '', '', '', ''];
  const { domain, created, image, storedBytes, policy, references } = entry.manifest;
  const state = isForeign(entry, host)
    ? `${entry.state}, foreign`
    : discarded
      ? colours.yellow(discarded.diskMovedOn ? 'discarded; disk moved on' : 'discarded')
      : entry.state;
  return [
    entry.snapshot,
    plain(domain.name),
    state,
    shortTime(created),
    formatBytes(image.bytes),
    formatBytes(storedBytes),
    references === undefined ? '' : formatBytes(references.pages * PAGE_BYTES),
    plain(policy.name),
  ];
}

function pairsOf(entry: WholeEntry, host: Host | null): [string, string][] {
  const { manifest, state } = entry;
  const { image, guest, policy } = manifest;
  const owner = ownerOf(entry);
  return [
    ['snapshot', manifest.snapshot],
    ['state', state],
    ['guest', `${plain(manifest.domain.name)} (${plain(manifest.domain.uuid)})`],
    [
      'kernel',
      guest.introspected
        ? plain(guest.kernel ?? 'unknown')
        : `not introspected: ${plain(guest.reason ?? 'no reason given')}`,
    ],
    ['created', shortTime(manifest.created)],
    [
      'owner',
      `${plain(owner.host)} (${plain(owner.machineId)})${isForeign(entry, host) ? ', another host' : ''}`,
    ],
    ['image', `${plain(image.path)}, ${formatBytes(image.bytes)}`],
    ['policy', `${plain(policy.name)}, critical data ${policy.criticalCopies} times`],
    ['stored', `${formatBytes(manifest.storedBytes)}, all copies together`],
    ...onDisks(manifest),
  ];
}

/** What only the guest's own disks hold. */
function onDisks({ references, disks }: Manifest): [string, string][] {
  if (references === undefined) return [];
  const names = disks.filter(({ source }) => source.startsWith('/')).map(({ target }) => plain(target));
  return [
    [
      'on its disks',
      `${formatBytes(references.pages * PAGE_BYTES)} of page cache, in no store (${names.join(', ')})`,
    ],
  ];
}

function classTable({ classes, policy, references }: Manifest, colours: Colours): string {
  const columns: Column[] = [
    { heading: 'CLASS' },
    { heading: 'PAGES', align: 'right' },
    { heading: 'IN IMAGE', align: 'right' },
    ...(references ? [{ heading: 'ON DISK', align: 'right' as const }] : []),
    { heading: 'COPIES', align: 'right' },
    { heading: 'STORED', align: 'right' },
    { heading: '' },
  ];
  const rows = PAGE_CLASSES.filter((name) => classes[name].pages > 0).map((name) => {
    const { pages, payloadPages, storedBytes } = classes[name];
    return [
      name,
      formatCount(pages),
      formatBytes(payloadPages * PAGE_BYTES),
      ...(references ? [formatBytes(references.classes[name] * PAGE_BYTES)] : []),
      String(policy.copies[name]),
      formatBytes(storedBytes),
      EXPENDABLE.has(name) ? 'expendable' : 'critical',
    ];
  });
  return renderTable(columns, rows, colours);
}

type WholeEntry = SnapshotEntry & { condition: 'whole' };

function isForeign(entry: WholeEntry, host: Host | null): boolean {
  return host !== null && ownerOf(entry).machineId !== host.machineId;
}

/** "2026-11-23 09:30:00 UTC". */
function shortTime(iso: string): string {
  return plain(iso)
    .replace('T', ' ')
    .replace(/(\.\d+)?Z$/, ' UTC');
}
