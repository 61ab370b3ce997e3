// SPDX-License-Identifier: Apache-2.0
/** Marks the directories of a store, for the commands that do. */
import { ParsError } from '../errors.js';
import type { Policy } from '../policy/policy.js';
import { mostCopies } from '../policy/policy.js';
import type { HdfsInitResult } from '../stores/hdfs/init.js';
import { printableUrl } from '../stores/printable-url.js';
import type { InitResult } from '../stores/local/init.js';
import { counted } from '../system/counted.js';
import { plain } from '../system/plain-text.js';

export interface StoreSetup {
  url: string;
  policy: Policy;
  allowSameDevice: boolean;
  force: boolean;
  /** A directory whose disk was replaced. */
  replace?: string | undefined;
  signal: AbortSignal;
  /** Says what is waited for. */
  note: (text: string) => void;
}

/** A NameNode that is there answers sooner. */
const SILENT_MS = 2000;

export interface SetUpStore {
  /** For machines. */
  result: object;
  /** For people. */
  text: string;
  warnings: string[];
}

/** Does nothing to a store that is set up already. */
export async function setUpStore(setup: StoreSetup): Promise<SetUpStore> {
  const { parseStoreUrl } = await import('../stores/open.js');
  const { scheme, rest } = parseStoreUrl(setup.url);
  return scheme === 'local' ? setUpLocal(rest, setup) : setUpHdfs(setup);
}

async function setUpLocal(path: string, setup: StoreSetup): Promise<SetUpStore> {
  const { allowSameDevice, force, policy, replace } = setup;
  const { initLocalStore } = await import('../stores/local/init.js');
  const result = await initLocalStore(path, {
    allowSameDevice,
    force,
    copies: mostCopies(policy),
    ...(replace === undefined ? {} : { replace }),
  });
  return { result, text: describe(result), warnings: [] };
}

async function setUpHdfs({
  url,
  allowSameDevice,
  force,
  replace,
  signal,
  note,
}: StoreSetup): Promise<SetUpStore> {
  if (allowSameDevice || force || replace !== undefined) {
    throw new ParsError(
      'usage',
      '--allow-same-device, --force and --replace are for stores in local directories',
      { hint: 'HDFS places its copies itself' },
    );
  }
  const { initHdfsStore } = await import('../stores/hdfs/init.js');
  const waiting = setTimeout(() => note(`Waiting for an answer from ${printableUrl(url)} ...`), SILENT_MS);
  try {
    const result = await initHdfsStore(url, signal);
    return { result, text: describeHdfs(result), warnings: result.warnings.map(plain) };
  } finally {
    clearTimeout(waiting);
  }
}

function describeHdfs({ storeId, directory, marked, facts }: HdfsInitResult): string {
  const what = marked ? `Set up ${plain(directory)} in HDFS` : 'Nothing to do: set up already';
  return `${what}.\nStore ${[storeId, ...facts.map(plain)].join('; ')}.`;
}

function describe({ storeId, directories, marked, allowSameDevice }: InitResult): string {
  const what =
    marked.length === 0 ? 'Nothing to do: set up already' : `Set up ${marked.map(plain).join(', ')}`;
  const shared = allowSameDevice ? '\nCopies may lie on one device, and are lost together with it.' : '';
  return `${what}.\nStore ${storeId}, ${counted(directories.length, 'directory', 'directories')}.${shared}`;
}
