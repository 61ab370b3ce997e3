// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { plain } from '../system/plain-text.js';
import { ParsError } from '../errors.js';
import type { HdfsInitResult } from '../stores/hdfs/init.js';
import { mostCopies } from '../policy/policy.js';
import type { InitResult } from '../stores/local/init.js';

interface Options extends SharedOptions {
  allowSameDevice?: boolean;
  force?: boolean;
  replace?: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Mark the directories of a store as ours, once: local ones, or one in HDFS. A directory without '
        + 'the mark counts as a disk that is not there, and is never written. Each local directory is to be the '
        + 'mount point of a disk of its own: one that lies on the file system of /, of the directory above it or '
        + 'of another one is refused, for its disk may not be mounted.',
    )
    .option('--allow-same-device', 'accept directories on one device: copies on it are lost together')
    .option(
      '--force',
      'accept directories that are not mount points of disks of their own, fewer than the policy keeps '
        + 'copies, and such as others than root own or may write',
    )
    .option('--replace <dir>', 'give an empty directory of the store, whose disk was replaced, its mark back')
    .action((options: Options) => cli.run(options, (context) => init(context, options)));
}

async function init(context: Context, options: Options): Promise<void> {
  const { parseStoreUrl } = await import('../stores/open.js');
  const url = await context.storeUrl();
  const { scheme, rest } = parseStoreUrl(url);
  await (scheme === 'local' ? initLocal(context, url, rest, options) : initHdfs(context, url, options));
}

async function initLocal(context: Context, url: string, path: string, options: Options): Promise<void> {
  const { initLocalStore } = await import('../stores/local/init.js');
  const result = await initLocalStore(path, {
    allowSameDevice: options.allowSameDevice ?? false,
    force: options.force ?? false,
    copies: mostCopies(await context.policy()),
    ...(options.replace === undefined ? {} : { replace: options.replace }),
  });
  context.output.json({ url, ...result });
  context.output.text(describe(result));
  if (options.replace !== undefined)
    context.output.note(
      'Snapshots that had a copy there have one copy less now; to make copies again: pars verify --repair',
    );
}

async function initHdfs(
  context: Context,
  url: string,
  { allowSameDevice, force, replace }: Options,
): Promise<void> {
  if (allowSameDevice || force || replace !== undefined) {
    throw new ParsError(
      'usage',
      '--allow-same-device, --force and --replace are for stores in local directories',
      { hint: 'HDFS places its copies itself' },
    );
  }
  const { initHdfsStore } = await import('../stores/hdfs/init.js');
  const result = await initHdfsStore(url, context.signal);
  context.output.json({ url, ...result });
  context.output.text(describeHdfs(result));
  for (const warning of result.warnings) context.output.warning(plain(warning));
}

function describeHdfs({ storeId, directory, marked }: HdfsInitResult): string {
  return (
    `${marked ? `Set up ${plain(directory)} in HDFS` : 'Nothing to do: set up already'}.\nStore `
    + `${storeId}.`
  );
}

function describe({ storeId, directories, marked, allowSameDevice }: InitResult): string {
  const what =
    marked.length === 0 ? 'Nothing to do: set up already' : `Set up ${marked.map(plain).join(', ')}`;
  const shared = allowSameDevice ? '\nCopies may lie on one device, and are lost together with it.' : '';
  return (
    `${what}.\nStore ${storeId}, ${directories.length} `
    + `${directories.length === 1 ? 'directory' : 'directories'}.${shared}`
  );
}
