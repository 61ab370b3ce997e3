// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { text } from 'node:stream/consumers';
import { disksOf } from '../libvirt/disk-sources.js';
import { restoreBegin } from '../lifecycle/restore-hook.js';
import { thisHost } from '../system/host.js';
import { publishMetrics } from '../cli/metrics-file.js';
import { asJob } from '../journal/jobs.js';
import { noteRefill } from '../queue/note-refill.js';
import { openStore } from '../stores/open.js';
import type { Store } from '../stores/store.js';
import { StubRegistry } from '../image/stub-registry.js';

interface Options extends SharedOptions {
  prepare?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description('Internal: called by the installed hook before libvirt resumes a guest.')
    .argument('<uuid>', "the guest's UUID; empty when the hook could not tell")
    .argument('<pid>', "the process id of libvirt's daemon")
    .option('--prepare', 'at "prepare begin": the domain XML is on standard input')
    .action((uuid: string, pid: string, options: Options) =>
      cli.run({ ...options, quiet: true }, (context) => wake(context, uuid, Number(pid), options)),
    );
}

async function wake(context: Context, uuid: string, parentPid: number, { prepare }: Options): Promise<void> {
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
      const store = await openStore(url, { signal });
      opened.push(store);
      return store;
    },
    asJob: (image, refill) =>
      asJob(stateDir, 'hydrate', image, async (job) => {
        const done = await refill();
        await noteRefill(stateDir, job, done, began);
        return done;
      }),
  }).catch(async (error: unknown) => {
    // A start that succeeds is not held up for this: the queue's worker, or its timer, writes them soon.
    await publishMetrics(context);
    throw error;
  });
  await work.finally(() => Promise.all(opened.map((store) => store.close())));
}
