// SPDX-License-Identifier: Apache-2.0
/**
 * All commands: their place, their one line of help, and how to load them. Only the one that is run is
 * loaded.
 */
import type { Command } from 'commander';
import type { Cli } from '../cli/context.js';
import type { SharedOption } from '../cli/options.js';

export interface CommandModule {
  /** Adds arguments, options and the action; name, summary and shared options are there already. */
  register(command: Command, cli: Cli): void;
}

export interface CommandEntry {
  /** The words that call it: ['list'], ['store', 'init']. */
  words: readonly string[];
  summary: string;
  shared: readonly SharedOption[];
  hidden?: boolean;
  load(): Promise<CommandModule>;
}

const OUTPUT = ['config', 'json', 'quiet'] as const;
const STORE = ['store', ...OUTPUT] as const;
const ALL = ['store', 'policy', ...OUTPUT] as const;

/** Words that only group commands, with their one line of help. */
export const GROUPS: Record<string, string> = {
  store: 'set up a store, and check it',
  hooks: 'install or remove the libvirt hook',
};

export const COMMANDS: readonly CommandEntry[] = [
  {
    words: ['report'],
    summary: 'show what an image holds and what each policy would store; changes nothing',
    shared: ALL,
    load: () => import('../commands/report.js'),
  },
  {
    words: ['explain'],
    summary: 'explain why a page has its class, and which file it belongs to',
    shared: OUTPUT,
    load: () => import('../commands/explain.js'),
  },
  {
    words: ['plan'],
    summary: 'show whether saves of the running guests would fit, here and in the store',
    shared: ALL,
    load: () => import('../commands/plan.js'),
  },
  {
    words: ['init'],
    summary: 'set this host up: configuration, store, hook; ends with what doctor says',
    shared: ALL,
    load: () => import('../commands/init.js'),
  },
  {
    words: ['doctor'],
    summary: 'check this host: configuration, hook, libvirt, store, disk space; say what to do',
    shared: STORE,
    load: () => import('../commands/doctor.js'),
  },
  {
    words: ['offload'],
    summary: 'store an image, prove it, and leave a stub in its place',
    shared: ALL,
    load: () => import('../commands/offload.js'),
  },
  {
    words: ['save'],
    summary: 'save a guest to a file, and wait until the image is a stub',
    shared: ALL,
    load: () => import('../commands/save.js'),
  },
  {
    words: ['managedsave'],
    summary: 'save a guest as libvirt keeps it, and wait until the image is a stub',
    shared: ALL,
    load: async () => ({ register: (await import('../commands/save.js')).registerManaged }),
  },
  {
    words: ['watch'],
    summary: 'offload every save as soon as libvirt has finished it, wherever that is',
    shared: ALL,
    load: () => import('../commands/watch.js'),
  },
  {
    words: ['checkpoint'],
    summary: 'make a live snapshot of a guest, with its memory in the store',
    shared: ALL,
    load: () => import('../commands/checkpoint.js'),
  },
  {
    words: ['checkpoints'],
    summary: 'list the checkpoints of a guest',
    shared: OUTPUT,
    load: async () => ({ register: (await import('../commands/checkpoint.js')).registerList }),
  },
  {
    words: ['rollback'],
    summary: 'bring a guest back to a checkpoint',
    shared: STORE,
    load: async () => ({ register: (await import('../commands/checkpoint.js')).registerRollback }),
  },
  {
    words: ['drain'],
    summary: 'offload all remaining managed saves before shutdown; list what is left',
    shared: ALL,
    load: () => import('../commands/drain.js'),
  },
  {
    words: ['hydrate'],
    summary: 'turn a stub back into an image, in place',
    shared: STORE,
    load: () => import('../commands/hydrate.js'),
  },
  {
    words: ['wake'],
    summary: "refill a guest's stub ahead of its start, outside libvirt's hook",
    shared: STORE,
    load: () => import('../commands/wake.js'),
  },
  {
    words: ['cancel'],
    summary: "cancel the refill of a guest's stub, also one that a start waits for",
    shared: OUTPUT,
    load: () => import('../commands/cancel.js'),
  },
  {
    words: ['restore'],
    summary: 'write the image of a snapshot to a new file',
    shared: STORE,
    load: () => import('../commands/restore.js'),
  },
  {
    words: ['list'],
    summary: 'list the snapshots in the store',
    shared: STORE,
    load: () => import('../commands/list.js'),
  },
  { words: ['show'], summary: 'show one snapshot', shared: STORE, load: () => import('../commands/show.js') },
  {
    words: ['verify'],
    summary: 'read what the store holds, list what is missing or corrupt, repair it',
    shared: STORE,
    load: () => import('../commands/verify.js'),
  },
  {
    words: ['rm'],
    summary: 'remove a snapshot from the store',
    shared: STORE,
    load: () => import('../commands/rm.js'),
  },
  {
    words: ['prune'],
    summary: 'remove snapshots that no guest needs any more; a dry run without --yes',
    shared: STORE,
    load: () => import('../commands/prune.js'),
  },
  {
    words: ['takeover'],
    summary: "transfer another host's snapshot to this host, to resume it here",
    shared: STORE,
    load: () => import('../commands/takeover.js'),
  },
  {
    words: ['status'],
    summary: 'show which offloads are pending, running or failed, and why',
    shared: STORE,
    load: () => import('../commands/status.js'),
  },
  {
    words: ['metrics'],
    summary: "print metrics in Prometheus' text format",
    shared: STORE,
    load: () => import('../commands/metrics.js'),
  },
  {
    words: ['store', 'init'],
    summary: 'initialise a store (one-time setup)',
    shared: STORE,
    load: () => import('../commands/store-init.js'),
  },
  {
    words: ['store', 'status'],
    summary: 'check the store: locations, free space, warnings',
    shared: STORE,
    load: () => import('../commands/store-status.js'),
  },
  {
    words: ['hooks', 'install'],
    summary: 'install the libvirt hook',
    shared: STORE,
    load: () => import('../commands/hooks-install.js'),
  },
  {
    words: ['hooks', 'uninstall'],
    summary: 'remove the libvirt hook',
    shared: OUTPUT,
    load: () => import('../commands/hooks-uninstall.js'),
  },
  {
    words: ['hook-restore'],
    summary: 'internal: called by the installed hook',
    shared: STORE,
    hidden: true,
    load: () => import('../commands/hook-restore.js'),
  },
];
