// SPDX-License-Identifier: Apache-2.0
/**
 * A snapshot in the store, reported on from its manifest: nothing of its pages is read. Also what a stub is a
 * stub of.
 */
import { uncomparedIn } from '../disks/record.js';
import { ParsError } from '../errors.js';
import { PAGE_BYTES, PAGE_CLASSES } from '../page-classes.js';
import type { ClassFacts, InspectionFacts } from '../reader/inspection.js';
import type { Manifest } from '../snapshot/manifest.js';
import { findSnapshot, resolveSnapshot } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';
import type { ReportFacts } from './report.js';

/** `path`: what the report is about, a stub's path; the snapshot's own name by default. */
export async function storedFacts(
  store: Store,
  typed: string,
  path: string | null = null,
): Promise<ReportFacts> {
  const entry = await findSnapshot(store, await resolveSnapshot(store, typed));
  if (entry.condition === 'unreadable') throw entry.error;
  if (entry.condition === 'incomplete')
    throw new ParsError('corrupt', `the snapshot ${entry.snapshot} has no manifest`, {
      hint: 'its upload was not finished: pars prune removes what is left of it',
    });
  return factsFrom(entry.manifest, path ?? entry.snapshot);
}

export function factsFrom(manifest: Manifest, path: string): ReportFacts {
  const { domain, guest } = manifest;
  const { bytes, rawBytes, format, wasRunning, streamOffset, headEnd, headDigest } = manifest.image;
  return {
    path,
    source: 'snapshot',
    image: {
      bytes,
      ...(rawBytes !== undefined && { rawBytes }),
      format,
      wasRunning,
      streamOffset,
      headEnd,
      headDigest,
      stubRecord: null,
      domain: {
        ...domain,
        machine: '',
        memoryBytes: 0,
        disks: [],
        policy: null,
        optOut: false,
        acceptChangedDisks: false,
        acceptUncomparedDisks: false,
        diskReferences: true,
      },
    },
    inspection: inspectionFrom(manifest, guest),
    uncomparedDisks: uncomparedIn(manifest.disks),
    ...(manifest.references && { onDisks: manifest.references.classes }),
  };
}

function inspectionFrom(manifest: Manifest, guest: Manifest['guest']): InspectionFacts {
  const classes = Object.fromEntries(
    PAGE_CLASSES.map((name) => [name, classFrom(manifest, name)]),
  ) as InspectionFacts['classes'];
  const ram = PAGE_CLASSES.filter((name) => name !== 'device').map((name) => classes[name]);
  const zeros = PAGE_CLASSES.reduce((total, name) => total + classes[name].zeroPages, 0);
  const sum = (of: (facts: ClassFacts) => number): number =>
    ram.reduce((total, facts) => total + of(facts), 0);
  return {
    guest,
    ram: {
      pageSize: PAGE_BYTES,
      pages: sum(({ pages }) => pages),
      zeroPages: sum(({ zeroPages }) => zeroPages),
    },
    classes,
    reasons: [],
    notes: [
      {
        text:
          'a snapshot does not tell pages of one repeated word from zero pages: their bytes are '
          + 'counted with those that belong to no page',
        pages: 0,
      },
    ],
    stream: {
      machine: '',
      payloadRecords: 0,
      zeroRecords: manifest.image.mappedBlocks === undefined ? 0 : zeros,
      repeatedRecords: 0,
      mappedBlocks: [],
    },
    recovery: { folios: 0, writes: 0 },
  };
}

/** How well a class compresses is known of what was stored of it. */
function classFrom(
  { classes, policy, references }: Manifest,
  name: (typeof PAGE_CLASSES)[number],
): ClassFacts {
  const { pages, payloadPages, storedBytes } = classes[name],
    copies = policy.copies[name];
  const storedPages = payloadPages - (references?.classes[name] ?? 0);
  const known = copies > 0 && storedPages > 0;
  return {
    pages,
    payloadPages,
    fillPages: 0,
    zeroPages: pages - payloadPages,
    sample: known ? { pages: storedPages, compressedBytes: storedBytes / copies } : null,
  };
}
