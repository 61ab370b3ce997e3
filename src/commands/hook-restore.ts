// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { type ErrorKind, ParsError } from '../errors.js';
import { text } from 'node:stream/consumers';
import { disksOf } from '../libvirt/disk-sources.js';
import { restoreBegin } from '../lifecycle/restore-hook.js';
import { thisHost } from '../system/host.js';
import { publishMetrics } from '../cli/metrics-file.js';
import { asJob } from '../journal/jobs.js';
import { noteRefill } from '../queue/note-refill.js';
import { native } from '../native.js';
import { proveReader } from '../reader/prove.js';
import { openStore } from '../stores/open.js';
import type { Store } from '../stores/store.js';
import { StubRegistry } from '../image/stub-registry.js';

interface Options extends SharedOptions {
  prepare?: boolean;
  prove?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description('Internal: called by the installed hook before libvirt resumes a guest.')
    .argument('<uuid>', "the guest's UUID; empty when the hook could not tell")
    .argument('<pid>', "the process id of libvirt's daemon")
    .option('--prepare', 'at "prepare begin": the domain XML is on standard input')
    .option('--prove', 'only see whether all that a refill needs can be loaded and run here')
    .action((uuid: string, pid: string, options: Options) =>
      cli.run({ ...options, quiet: true }, (context) =>
        options.prove ? prove(context) : refill(context, uuid, Number(pid), options),
      ),
    );
}

async function prove(context: Context): Promise<void> {
  await context.storeUrl();
  native();
  await proveReader();
}

async function refill(
  context: Context,
  uuid: string,
  parentPid: number,
  { prepare }: Options,
): Promise<void> {
  if (uuid === '' || !Number.isInteger(parentPid))
    throw new ParsError('usage', 'the hook was not told which guest is to be resumed');
  const { hook, stateDir, acceptUncomparedDisks } = await context.config();
  const url = await context.storeUrl();
  const host = thisHost();
  const registry = new StubRegistry(stateDir);
  const began = Date.now();
  const opened: Store[] = [];
  const work = restoreBegin({
    domainUuid: uuid,
    parentPid,
    ...(prepare && { prepared: disksOf(await text(process.stdin)) }),
    registry,
    host,
    times: hook,
    acceptUncomparedDisks,
    signal: context.signal,
    openStore: async (signal) => {
      const store = await openStore(url, { signal, toResume: true });
      opened.push(store);
      return store;
    },
    asJob: (image, refill) =>
      asJob(stateDir, 'hydrate', image, async (job) => {
        const done = await refill(job);
        await noteRefill(stateDir, job, done, began);
        return done;
      }),
  }).catch(async (error: unknown) => {
    // A start that succeeds is not held up for this: the queue's worker, or its timer, writes them soon.
    await publishMetrics(context);
    throw await sayingItIsSafe(error, uuid, registry);
  });
  await work.finally(() => Promise.all(opened.map((store) => store.close())));
}

/** What passes: the guest can be started later, unless somebody throws its saved state away meanwhile. */
const PASSES: readonly ErrorKind[] = ['unreachable', 'busy', 'no-space', 'internal'];

/** A start that failed makes people and tools discard the saved state: they are told where the memory is. */
async function sayingItIsSafe(error: unknown, uuid: string, registry: StubRegistry): Promise<unknown> {
  if (!(error instanceof ParsError) || !PASSES.includes(error.kind)) return error;
  const [stubs] = await Promise.allSettled([registry.all()]);
  const names = (stubs.status === 'fulfilled' ? stubs.value : [])
    .filter(({ domainUuid }) => domainUuid === uuid)
    .map(({ snapshot }) => snapshot);
  const safe =
    `the memory of the guest is safe in the store${names.length > 0 ? ` as ${names.join(', ')}` : ''}: `
    + 'do not discard the saved state';
  return new ParsError(error.kind, error.message, {
    hint: error.hint === undefined ? safe : `${safe}; ${error.hint}`,
    cause: error,
  });
}
