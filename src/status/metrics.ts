// SPDX-License-Identifier: Apache-2.0
/**
 * What monitoring is told of this host: its queue, what became of its guests' images, and the store as far as
 * it can be reached.
 */
import { ParsError } from '../errors.js';
import { hostStatus } from './host-status.js';
import { readLedger, type GuestLedger, type Ledger } from '../journal/ledger.js';
import { PAGE_CLASSES } from '../page-classes.js';
import type { Host } from '../system/host.js';
import { listSnapshots, ownerOf, STATES, type SnapshotEntry } from '../snapshot/snapshots.js';
import type { Store } from '../stores/store.js';

export interface Sample {
  labels: Record<string, string>;
  value: number;
}

export interface Metric {
  name: string;
  type: 'counter' | 'gauge';
  help: string;
  samples: Sample[];
}

export interface MetricsPlace {
  stateDir: string;
  saveDir: string;
  watch?: readonly string[];
  version: string;
  host: Host | null;
  /** Opens the store; one that cannot be reached is told as such. */
  openStore(): Promise<Store>;
}

/** Everything but what needs the store is there although that cannot be reached. */
export async function collectMetrics(place: MetricsPlace): Promise<Metric[]> {
  const ledger = await readLedger(place.stateDir);
  return [
    gauge('pars_build_info', 'The version of pars that wrote this.', [
      { labels: { version: place.version }, value: 1 },
    ]),
    gauge('pars_written_timestamp_seconds', 'When this was written.', one(Date.now() / 1000)),
    ...(await queueMetrics(place)),
    ...failureMetrics(ledger),
    ...guestMetrics(ledger),
    ...(await storeMetrics(place)),
  ];
}

async function queueMetrics({ stateDir, saveDir, watch }: MetricsPlace): Promise<Metric[]> {
  const found = await hostStatus(stateDir, saveDir, watch);
  const { due, running, failed, stubs, lost, refused, blindSpots } = found;
  const oldest = Math.min(...due.map(({ since }) => Date.parse(since)));
  const byWork = (jobs: readonly { kind: string }[]): Sample[] =>
    ['offload', 'hydrate'].map((work) => ({
      labels: { work },
      value: jobs.filter(({ kind }) => kind === work).length,
    }));
  return [
    gauge(
      'pars_images_due',
      'Managed saves that are not offloaded yet, and not being offloaded now.',
      one(due.length),
    ),
    gauge(
      'pars_images_due_bytes',
      'Length of those images.',
      one(due.reduce((sum, { bytes }) => sum + bytes, 0)),
    ),
    gauge(
      'pars_image_due_oldest_timestamp_seconds',
      'When the oldest of them was saved; absent when there is none.',
      due.length === 0 ? [] : one(oldest / 1000),
    ),
    gauge('pars_jobs_running', 'Offloads and hydrations under way.', byWork(running)),
    gauge(
      'pars_jobs_failed',
      'Offloads and hydrations that failed or were interrupted and are unresolved.',
      byWork(failed),
    ),
    gauge('pars_stubs', 'Stubs on this host.', one(stubs.length)),
    gauge(
      'pars_stubs_lost',
      'Stubs that are gone although no start of their guests consumed them.',
      one(lost.length),
    ),
    gauge(
      'pars_starts_refused',
      'Guests whose last start was refused, and whose stub is still there.',
      one(refused.length),
    ),
    gauge(
      'pars_blind_spots',
      'What could not be looked at: managed saves that cannot be read, or their whole directory.',
      one(blindSpots.length),
    ),
  ];
}

function failureMetrics({ failures }: Ledger): Metric[] {
  const samples = Object.entries(failures).flatMap(([work, kinds]) => {
    const seen = Object.entries(kinds).map(([kind, value]) => ({ labels: { work, kind }, value }));
    // A counter that is there from the beginning: a rate() sees its first step.
    return kinds.unreachable === undefined
      ? [...seen, { labels: { work, kind: 'unreachable' }, value: 0 }]
      : seen;
  });
  return [
    {
      name: 'pars_failures_total',
      type: 'counter',
      help: 'Offloads and hydrations that failed, by kind of error.',
      samples,
    },
  ];
}

function guestMetrics({ guests }: Ledger): Metric[] {
  const all = Object.entries(guests);
  return [...countsOf(all), ...lastOffloadOf(all), ...lastHydrateOf(all)];
}

type Guests = [uuid: string, guest: GuestLedger][];

/** One sample a guest, of those for whom there is a value. */
function per(all: Guests, pick: (guest: GuestLedger) => number | undefined): Sample[] {
  return all.flatMap(([uuid, guest]) => {
    const value = pick(guest);
    return value === undefined ? [] : [{ labels: { guest: guest.name, uuid }, value }];
  });
}

function countsOf(all: Guests): Metric[] {
  return [
    {
      name: 'pars_offloads_total',
      type: 'counter',
      help: 'Images that became stubs or were stored.',
      samples: per(all, ({ offloads }) => offloads),
    },
    {
      name: 'pars_hydrates_total',
      type: 'counter',
      help: 'Stubs that became images again.',
      samples: per(all, ({ hydrates }) => hydrates),
    },
  ];
}

function lastOffloadOf(all: Guests): Metric[] {
  const classes = all.flatMap(([uuid, { name, offload }]) =>
    PAGE_CLASSES.flatMap((pageClass) => {
      const value = offload?.classes[pageClass];
      return value === undefined ? [] : [{ labels: { guest: name, uuid, class: pageClass }, value }];
    }),
  );
  return [
    gauge(
      'pars_offload_last_success_timestamp_seconds',
      'When the guest was offloaded last.',
      per(all, ({ offload }) => secondsOf(offload?.time)),
    ),
    gauge(
      'pars_offload_last_duration_seconds',
      'How long that took.',
      per(all, ({ offload }) => offload?.seconds),
    ),
    gauge(
      'pars_offload_last_image_bytes',
      'Length of that image.',
      per(all, ({ offload }) => offload?.imageBytes),
    ),
    gauge(
      'pars_offload_last_stored_bytes',
      'What it takes in the store, over all copies.',
      per(all, ({ offload }) => offload?.storedBytes),
    ),
    gauge(
      'pars_offload_last_class_stored_bytes',
      'The pages of each class among them, over all copies.',
      classes,
    ),
    gauge(
      'pars_offload_last_disk_bytes',
      "What is not stored because the guest's own disks hold it.",
      per(all, ({ offload }) => offload?.diskBytes),
    ),
    gauge(
      'pars_offload_last_saved_bytes',
      'What it takes less than plain copies of the image, as many as critical data has.',
      per(all, ({ offload }) =>
        offload ? offload.imageBytes * offload.criticalCopies - offload.storedBytes : undefined,
      ),
    ),
    gauge(
      'pars_offload_last_freed_bytes',
      'What it freed on the local disk.',
      per(all, ({ offload }) => offload?.freedBytes),
    ),
  ];
}

function lastHydrateOf(all: Guests): Metric[] {
  return [
    gauge(
      'pars_hydrate_last_success_timestamp_seconds',
      'When a stub of the guest was refilled last.',
      per(all, ({ hydrate }) => secondsOf(hydrate?.time)),
    ),
    gauge(
      'pars_hydrate_last_duration_seconds',
      'How long that took.',
      per(all, ({ hydrate }) => hydrate?.seconds),
    ),
  ];
}

async function storeMetrics({ openStore, host }: MetricsPlace): Promise<Metric[]> {
  const seen = await lookAt(openStore).catch((error: unknown) => {
    if (error instanceof ParsError && error.kind !== 'internal') return null;
    throw error;
  });
  const up = gauge('pars_store_up', 'Whether the store could be reached.', one(seen === null ? 0 : 1));
  if (seen === null) return [up];
  const {
    status: { usablePlaces, places, freeBytes },
    entries,
  } = seen;
  const own = entries.filter(
    (entry): entry is SnapshotEntry & { condition: 'whole' } =>
      entry.condition === 'whole' && ownerOf(entry).machineId === host?.machineId,
  );
  const states = ['committed', ...STATES].map((state) => ({
    labels: { state },
    entries: own.filter((entry) => entry.state === state),
  }));
  const oldest = states
    .filter((one) => one.entries.length > 0)
    .map(({ labels, entries: of }) => ({
      labels,
      value: Math.min(...of.map(({ manifest }) => Date.parse(manifest.created))) / 1000,
    }));
  return [
    up,
    gauge('pars_store_usable_places', 'Places of the store that can be used.', one(usablePlaces)),
    gauge('pars_store_places', 'Places the store should have.', one(places)),
    gauge(
      'pars_store_free_bytes',
      'Free room in the store; absent when it does not say.',
      freeBytes === null ? [] : one(freeBytes),
    ),
    gauge(
      'pars_snapshots',
      "This host's snapshots in the store, by state.",
      states.map(({ labels, entries: of }) => ({ labels, value: of.length })),
    ),
    gauge(
      'pars_snapshots_stored_bytes',
      'What they take, over all copies.',
      states.map(({ labels, entries: of }) => ({
        labels,
        value: of.reduce((sum, { manifest }) => sum + manifest.storedBytes, 0),
      })),
    ),
    gauge('pars_snapshot_oldest_timestamp_seconds', 'When the oldest of them was made.', oldest),
    gauge(
      'pars_snapshots_unreadable',
      'Snapshots in the store whose manifest cannot be read, of whatever host.',
      one(entries.filter(({ condition }) => condition === 'unreadable').length),
    ),
  ];
}

async function lookAt(
  openStore: MetricsPlace['openStore'],
): Promise<{ status: Awaited<ReturnType<Store['status']>>; entries: SnapshotEntry[] }> {
  const store = await openStore();
  try {
    return { status: await store.status(), entries: await listSnapshots(store) };
  } finally {
    await store.close();
  }
}

function secondsOf(time: string | undefined): number | undefined {
  return time === undefined ? undefined : Date.parse(time) / 1000;
}

function one(value: number): Sample[] {
  return [{ labels: {}, value }];
}

function gauge(name: string, help: string, samples: Sample[]): Metric {
  return { name, type: 'gauge', help, samples };
}
