// SPDX-License-Identifier: Apache-2.0
/** Makes a directory in HDFS a store, once. Writes nothing before all is checked (R22). */
import { setTimeout as sleep } from 'node:timers/promises';
import { ParsError } from '../../errors.js';
import { DIRECTORY_MODE, FILE_MODE, HdfsFiles } from './files.js';
import { isHdfs } from './errors.js';
import { encodeMarker, newMarker, readMarker, type HdfsMarker } from './marker.js';
import { type HdfsAddress, parseHdfsUrl } from './url.js';
import { protections, trustWarnings } from './trust.js';
import { sendSmall } from './upload.js';
import { MARKER_FILE } from '../marker.js';

export interface HdfsInitResult {
  storeId: string;
  directory: string;
  /** False: it was a store already. */
  marked: boolean;
  /** What this cluster keeps from others, and what it does not (R24). */
  facts: string[];
  warnings: string[];
}

/** That of an encryption zone, made with it. */
const TRASH = '.Trash';

/** The marker is worth as much as what it marks. */
const COPIES = 3;

/** Somebody sits and waits: so long for NameNodes to answer, where a store in use is given a minute. */
const PROBE_MS = 10_000;
const PAUSE_MS = 500;

export async function initHdfsStore(url: string, signal?: AbortSignal): Promise<HdfsInitResult> {
  const files = new HdfsFiles(await answering(parseHdfsUrl(url), signal), signal);
  const existing = await lookAt(files);
  const marker = existing ?? (await mark(files));
  return {
    storeId: marker.storeId,
    directory: files.root,
    marked: existing === null,
    facts: protections(files, await files.status(files.root)),
    warnings: trustWarnings(files),
  };
}

/** The same store, asked first of a NameNode that answers, whatever it says. Throws when none does. */
async function answering(address: HdfsAddress, signal?: AbortSignal): Promise<HdfsAddress> {
  const { options, root } = address;
  for (const end = performance.now() + PROBE_MS; ; await sleep(PAUSE_MS)) {
    let silence: unknown;
    for (const nameNode of options.nameNodes) {
      const probe = { ...options, nameNodes: [nameNode], requestMs: PROBE_MS, patienceMs: 0 };
      silence = await silenceOf(new HdfsFiles({ ...address, options: probe }, signal).status(root));
      if (silence !== undefined) continue;
      const others = options.nameNodes.filter((other) => other !== nameNode);
      return { ...address, options: { ...options, nameNodes: [nameNode, ...others] } };
    }
    if (performance.now() > end) throw silence;
  }
}

/** The error of a question that nobody answered. */
async function silenceOf(question: Promise<unknown>): Promise<ParsError | undefined> {
  try {
    await question;
  } catch (error) {
    if (!(error instanceof ParsError)) throw error;
    if (isHdfs(error.cause, 'unreachable', 'timeout')) return error;
  }
  return undefined;
}

/** The marker that is there. Throws when the directory is in use for something else. */
async function lookAt(files: HdfsFiles): Promise<HdfsMarker | null> {
  const status = await files.status(files.root);
  if (status === null) return null;
  if (status.type !== 'DIRECTORY')
    throw new ParsError('refused', `${files.root} is a file in HDFS`, {
      hint: 'name a directory in the URL of the store',
    });
  const marker = await readMarker(files);
  if (marker !== null) return marker;
  const foreign = (await files.list(files.root))
    .map(({ pathSuffix }) => pathSuffix)
    .filter((name) => !name.startsWith(`.${MARKER_FILE}.`) && name !== TRASH);
  if (foreign.length === 0) return null;
  throw new ParsError(
    'refused',
    `${files.root} in HDFS is not empty `
      + `(${foreign.slice(0, 3).join(', ')}${foreign.length > 3 ? ', ...' : ''})`,
    { hint: 'give an empty directory, or one that is not there' },
  );
}

/** Of two that come at the same time one writes the marker, and both have that store. */
async function mark(files: HdfsFiles): Promise<HdfsMarker> {
  await files.makeParents(files.pathOf(MARKER_FILE), '/');
  await files.call(`setting up ${files.root}`, (client, call) =>
    client.setPermission(files.root, DIRECTORY_MODE, call),
  );
  const path = files.pathOf(MARKER_FILE);
  const temporary = files.temporaryFor(path);
  const own = newMarker();
  try {
    await sendSmall(files, temporary, encodeMarker(own), {
      copies: COPIES,
      critical: true,
      permission: FILE_MODE,
    });
    if (await files.publishNew(temporary, path)) return own;
  } catch (error) {
    await files.discard(temporary);
    throw error;
  }
  await files.discard(temporary);
  const winner = await readMarker(files);
  if (winner === null)
    throw new ParsError('busy', `${files.root} is being set up by another process`, { hint: 'try again' });
  return winner;
}
