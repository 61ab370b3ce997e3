import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { restoreBegin } from '../hook.js';
import { thisHost } from '../host.js';
import { asJob } from '../jobs.js';
import { settleStarts } from '../snapshot-life.js';
import { openStore } from '../stores/open.js';
import { StubRegistry } from '../stub-registry.js';

export function register(command: Command, cli: Cli): void {
  command
    .description('What the installed hook runs before libvirt resumes a guest; not for people.')
    .argument('<uuid>', "the guest's UUID; empty when the hook could not tell")
    .argument('<pid>', "the process id of libvirt's daemon")
    .action((uuid: string, pid: string, options: SharedOptions) => cli.run({ ...options, quiet: true }, (context) => wake(context, uuid, Number(pid))));
}

async function wake(context: Context, uuid: string, parentPid: number): Promise<void> {
  if (uuid === '' || !Number.isInteger(parentPid)) throw new ParsError('usage', 'the hook was not told which guest is to be resumed');
  const { hook, stateDir } = await context.config();
  const url = await context.storeUrl();
  const host = thisHost();
  const registry = new StubRegistry(stateDir);
  await restoreBegin({
    domainUuid: uuid, parentPid, registry, host, times: hook, signal: context.signal,
    openStore: async (signal) => {
      const store = await openStore(url, { signal });
      await settleStarts(store, registry, host);
      return store;
    },
    asJob: (image, work) => asJob(stateDir, 'hydrate', image, work),
  });
}
