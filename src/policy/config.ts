// SPDX-License-Identifier: Apache-2.0
/** The configuration: a YAML file, with what the command line says laid over it. */
import { ParsError } from '../errors.js';
import { readTrusted } from '../system/ownership.js';
import { customPolicy, DEFAULT_PRESET, policyByName, presetPolicy, type Policy } from './policy.js';

export const DEFAULT_CONFIG_FILE = '/etc/pars/pars.yaml';
export const DEFAULT_STATE_DIR = '/var/lib/pars';

/** Where libvirt, however it is confined, may write. */
const DEFAULT_CHECKPOINT_DIR = '/var/lib/libvirt/pars-checkpoints';
const WEEK_MS = 7 * 86_400_000;

export interface Config {
  /** The file it came from; null when there is none. */
  file: string | null;
  /** URL of the store; null when none is configured. */
  store: string | null;
  policy: Policy;
  /** What the guests' own disks hold may stay there alone, where the policy says so. */
  diskReferences: boolean;
  hook: {
    /** How long the hook may hold a start or a save. */
    deadlineMs: number;
    /** How long a start waits for a store that cannot be reached. */
    waitForStoreMs: number;
  };
  retention: Retention;
  /** Disks that nobody can compare are taken for unchanged when their guest is resumed (R26). */
  acceptUncomparedDisks: boolean;
  checkpoints: CheckpointLimits;
  queue: QueueLimits;
  wake: {
    /** Bytes a second that `pars wake --all` reads from the store; null: no limit. */
    bandwidth: number | null;
    /** How long an image that was refilled ahead of its start, and not started, stays so. */
    settleMs: number;
  };
  /** Directories, and patterns of them, whose finished saves are offloaded beside libvirt's managed saves. */
  watch: string[];
  /** For node_exporter's textfile collector; null: none is written. */
  metricsFile: string | null;
  /** Where the host keeps what it knows of its own work (logs, queue, locks). */
  stateDir: string;
}

/** How the queue of offloads is worked off. */
export interface QueueLimits {
  /** Offloads at a time. */
  concurrency: number;
  /** Bytes a second that all of them together may send to the store, over all copies; null: no limit. */
  bandwidth: number | null;
  /** With less room than this where the saves lie the largest image goes first, else the oldest. */
  freeSpaceFloor: { bytes: number } | { share: number };
  /**
   * So long after a start of a guest, or the refill for one, its image may be wanted again; after a boot
   * saves from before it are left alone until nobody has started a guest for so long.
   */
  settleMs: number;
  /** An image that waits longer than this is a matter for monitoring. */
  overdueMs: number;
}

/** Where `pars checkpoint` keeps memory files, and which checkpoints of a guest stay. */
export interface CheckpointLimits {
  directory: string;
  /** The newest so many; null: all. */
  keepLast: number | null;
  /** Those younger than this; null: no matter how old. */
  maxAgeMs: number | null;
}

/** What `pars prune` may remove (R28). */
export interface Retention {
  /** The worker removes what is due by itself. */
  automatic: boolean;
  /**
   * Stored copies that no stub needs and nobody has started: the newest so many of a guest stay; null: all.
   */
  keepLast: number | null;
  /** And those younger than this stay too; null: no matter how young. */
  maxAgeMs: number | null;
  /** How long a snapshot stays after a start has consumed it. */
  consumedMs: number;
  /** How long one stays whose stub is gone, and (a day at least) a fragment that nobody finishes. */
  orphanGraceMs: number;
}

/** What the command line may say. */
export interface ConfigOverrides {
  config?: string;
  store?: string;
  policy?: string;
}

/**
 * Reads the configuration. Without the default file the defaults hold; a file that was named must be there.
 */
export async function loadConfig(
  overrides: ConfigOverrides = {},
  defaultFile = DEFAULT_CONFIG_FILE,
): Promise<Config> {
  const file = overrides.config ?? defaultFile;
  const text = readConfigFile(file, overrides.config !== undefined);
  const config = text === null ? defaults() : await parse(text, file);
  return {
    ...config,
    store: overrides.store ?? config.store,
    policy: overrides.policy === undefined ? config.policy : policyByName(overrides.policy),
  };
}

function defaults(): Config {
  return {
    file: null,
    store: null,
    policy: presetPolicy(DEFAULT_PRESET),
    diskReferences: true,
    hook: { deadlineMs: 600_000, waitForStoreMs: 60_000 },
    retention: {
      automatic: true,
      keepLast: null,
      maxAgeMs: null,
      consumedMs: WEEK_MS,
      orphanGraceMs: WEEK_MS,
    },
    acceptUncomparedDisks: false,
    queue: {
      concurrency: 2,
      bandwidth: null,
      freeSpaceFloor: { share: 0.1 },
      settleMs: 60_000,
      overdueMs: 3_600_000,
    },
    wake: { bandwidth: null, settleMs: 3_600_000 },
    checkpoints: { directory: DEFAULT_CHECKPOINT_DIR, keepLast: null, maxAgeMs: null },
    watch: [],
    metricsFile: null,
    stateDir: DEFAULT_STATE_DIR,
  };
}

function readConfigFile(file: string, named: boolean): string | null {
  try {
    return readTrusted('the configuration', file).toString();
  } catch (cause) {
    if (cause instanceof ParsError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && !named) return null;
    throw new ParsError('usage', `cannot read the configuration ${file}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** The parser and its libraries are loaded only when there is a file to parse. */
async function parse(text: string, file: string): Promise<Config> {
  const { parseConfigFile } = await import('./config-file.js');
  const parsed = parseConfigFile(text, file);
  const config = defaults();
  return {
    file,
    store: parsed.values.store ?? config.store,
    policy: filePolicy(parsed.values.policy, parsed.at) ?? config.policy,
    diskReferences: parsed.values.disk_references !== 'off',
    hook: {
      deadlineMs: parsed.values.hook?.deadline ?? config.hook.deadlineMs,
      waitForStoreMs: parsed.values.hook?.wait_for_store ?? config.hook.waitForStoreMs,
    },
    retention: {
      automatic: parsed.values.retention?.automatic ?? config.retention.automatic,
      keepLast: parsed.values.retention?.keep_last ?? config.retention.keepLast,
      maxAgeMs: parsed.values.retention?.max_age ?? config.retention.maxAgeMs,
      consumedMs: parsed.values.retention?.consumed ?? config.retention.consumedMs,
      orphanGraceMs: parsed.values.retention?.orphan_grace ?? config.retention.orphanGraceMs,
    },
    acceptUncomparedDisks: parsed.values.disks?.accept_uncompared ?? config.acceptUncomparedDisks,
    queue: {
      concurrency: parsed.values.queue?.concurrency ?? config.queue.concurrency,
      bandwidth: parsed.values.queue?.bandwidth ?? config.queue.bandwidth,
      freeSpaceFloor: parsed.values.queue?.free_space_floor ?? config.queue.freeSpaceFloor,
      settleMs: parsed.values.queue?.settle ?? config.queue.settleMs,
      overdueMs: parsed.values.queue?.overdue ?? config.queue.overdueMs,
    },
    wake: {
      bandwidth: parsed.values.wake?.bandwidth ?? config.wake.bandwidth,
      settleMs: parsed.values.wake?.settle ?? config.wake.settleMs,
    },
    checkpoints: {
      directory: parsed.values.checkpoints?.directory ?? config.checkpoints.directory,
      keepLast: parsed.values.checkpoints?.keep_last ?? config.checkpoints.keepLast,
      maxAgeMs: parsed.values.checkpoints?.max_age ?? config.checkpoints.maxAgeMs,
    },
    watch: parsed.values.watch ?? config.watch,
    metricsFile: parsed.values.metrics?.file ?? config.metricsFile,
    stateDir: parsed.values.state_dir ?? config.stateDir,
  };
}

type FileValues = import('./config-file.js').ConfigFileValues;

function filePolicy(policy: FileValues['policy'], at: (path: string[]) => string): Policy | undefined {
  if (policy === undefined) return undefined;
  if (typeof policy === 'string') return policyByName(policy);
  try {
    return customPolicy({
      base: policy.base ?? DEFAULT_PRESET,
      classes: policy.classes ?? {},
      force: policy.force ?? false,
      critical: policy.critical,
    });
  } catch (error) {
    if (!(error instanceof ParsError)) throw error;
    throw new ParsError(
      error.kind,
      `${at(['policy'])}: ${error.message}`,
      error.hint === undefined ? {} : { hint: error.hint },
    );
  }
}
