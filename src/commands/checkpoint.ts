// SPDX-License-Identifier: Apache-2.0
/** `pars checkpoint`, `pars checkpoints`, `pars rollback`. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { openOrPublish } from '../cli/queue-run.js';
import { offloadSaved } from '../cli/saved-image.js';
import { ParsError } from '../errors.js';
import { liveStubs } from '../image/live-stubs.js';
import { StubRegistry } from '../image/stub-registry.js';
import { guestName } from '../libvirt/guest.js';
import { createSnapshot, lastPause, revertToSnapshot } from '../libvirt/snapshots.js';
import {
  type Checkpoint,
  checkpointsOf,
  deleteCheckpoint,
  expired,
  frozenBytes,
  newCheckpointName,
  proveRevertable,
} from '../lifecycle/checkpoints.js';
import type { Offloaded } from '../lifecycle/offload-request.js';
import { shellWord } from '../system/shell-word.js';
import { plain } from '../system/plain-text.js';
import { renderTable } from '../ui/table.js';
import { formatBytes } from '../ui/units.js';

interface RollbackOptions extends SharedOptions {
  running?: boolean;
  paused?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      "Make a live snapshot of a running guest's memory and disks (libvirt 9.9 and later), wait until its "
        + 'memory is in the store, and say its name. Then delete checkpoints beyond checkpoints.keep_last '
        + 'and checkpoints.max_age: libvirt merges their disks.',
    )
    .argument('<guest>', 'its name, or its UUID')
    .action((guest: string, options: SharedOptions) =>
      cli.run(options, (context) => checkpoint(context, guest, options)),
    );
}

export function registerList(command: Command, cli: Cli): void {
  command
    .description(
      'List the checkpoints of a guest, the oldest first: what libvirt has, and where their memory is.',
    )
    .argument('<guest>', 'its name, or its UUID')
    .action((guest: string, options: SharedOptions) => cli.run(options, (context) => list(context, guest)));
}

export function registerRollback(command: Command, cli: Cli): void {
  command
    .description(
      'Bring a guest back to a checkpoint, by default the newest: its memory and its disks as they were. '
        + 'What it has done since is lost. Refused, with the guest left as it is, when the memory cannot '
        + 'be had from the store.',
    )
    .argument('<guest>', 'its name, or its UUID')
    .argument('[checkpoint]', 'as "pars checkpoints" shows it (default: the newest)')
    .option('--running', 'the guest runs afterwards, though it was paused')
    .option('--paused', 'the guest is paused afterwards')
    .action((guest: string, name: string | undefined, options: RollbackOptions) =>
      cli.run(options, (context) => rollback(context, guest, name, options)),
    );
}

async function checkpoint(context: Context, typed: string, options: SharedOptions): Promise<void> {
  const { checkpoints } = await context.config();
  // A store that does not answer is found out before there is a snapshot.
  await openOrPublish(context).then((store) => store.status().finally(() => store.close()));
  const guest = await guestName(typed);
  const name = newCheckpointName();
  await mkdir(checkpoints.directory, { recursive: true, mode: 0o700 });
  const memory = join(checkpoints.directory, `${guest.replaceAll('/', '_')}.${name}.mem`);
  await createSnapshot(guest, name, memory);
  const pauseMs = await lastPause(guest);
  context.output.note(`made ${name} of ${plain(guest)}`);
  const offloaded = await offloadMemory(context, memory, options);
  const deleted = await retain(context, guest, options);
  const made = (await known(context, guest)).find((one) => one.name === name);
  const diskBytes = await frozenBytes(made?.disks ?? []);
  context.output.json({ checkpoint: name, guest, memory, pauseMs, diskBytes, deleted, offloaded });
  const pause = pauseMs === null ? '' : `, the guest paused for ${pauseMs} ms`;
  context.output.text(
    `Checkpoint ${name} of ${plain(guest)}${pause}: ${formatBytes(offloaded.storedBytes)} stored over all `
      + `copies, disks `
      + `${formatBytes(diskBytes)}.${deleted.length > 0 ? `\nDeleted: ${deleted.join(', ')}.` : ''}`,
  );
}

function offloadMemory(context: Context, image: string, { policy }: SharedOptions): Promise<Offloaded> {
  return offloadSaved(context, { image, managedSave: false, policyIsFixed: policy !== undefined });
}

async function known(context: Context, guest: string): Promise<Checkpoint[]> {
  const { stateDir } = await context.config();
  return checkpointsOf(guest, await liveStubs(new StubRegistry(stateDir)));
}

/** Deletes what retention gives up, and offloads what an interrupted run, or a rollback, has left whole. */
async function retain(context: Context, guest: string, options: SharedOptions): Promise<string[]> {
  const { checkpoints: limits, stateDir } = await context.config();
  const place = { store: await context.store(), registry: new StubRegistry(stateDir) };
  const all = await known(context, guest);
  const old = expired(all, limits);
  const deleted: string[] = [];
  for (const one of old) {
    const done = await deleteCheckpoint(guest, one, place).then(
      () => true,
      warnOf(context, `delete ${one.name}`),
    );
    if (done) deleted.push(one.name);
  }
  for (const one of all.filter(({ state }) => state === 'whole').filter((whole) => !old.includes(whole)))
    await offloadMemory(context, one.memory, options).catch(warnOf(context, `offload ${one.name}`));
  return deleted;
}

/** The checkpoint that was asked for is there; the rest is tried again by the next run. */
function warnOf(context: Context, what: string): (error: unknown) => false {
  return (error) => {
    if (!(error instanceof ParsError)) throw error;
    context.output.warning(`could not ${what}: ${plain(error.message)}`);
    return false;
  };
}

async function list(context: Context, typed: string): Promise<void> {
  const guest = await guestName(typed);
  const checkpoints = await known(context, guest);
  const sized = await Promise.all(
    checkpoints.map(async (one) => ({ ...one, diskBytes: await frozenBytes(one.disks) })),
  );
  context.output.json({
    checkpoints: sized.map(({ disks: _, created, ...one }) => ({ ...one, created: created.toISOString() })),
  });
  const rows = sized.map(({ name, created, state, diskBytes, stored }) => [
    name,
    created.toISOString().replace('T', ' ').slice(0, 19),
    state,
    formatBytes(diskBytes),
    stored ?? '',
  ]);
  const columns = ['CHECKPOINT', 'CREATED (UTC)', 'MEMORY', 'DISKS', 'SNAPSHOT'].map((heading) => ({
    heading,
  }));
  context.output.text(
    rows.length === 0 ? 'No checkpoints.' : renderTable(columns, rows, context.output.colours),
  );
}

async function rollback(
  context: Context,
  typed: string,
  name: string | undefined,
  options: RollbackOptions,
): Promise<void> {
  const guest = await guestName(typed);
  const checkpoints = await known(context, guest);
  const chosen = name === undefined ? checkpoints.at(-1) : checkpoints.find((one) => one.name === name);
  if (chosen === undefined)
    throw new ParsError(
      'missing',
      `${plain(guest)} has no checkpoint${name === undefined ? '' : ` ${plain(name)}`}`,
      { hint: `see: pars checkpoints ${shellWord(guest)}` },
    );
  if (chosen.state === 'missing')
    throw new ParsError('lost', `the memory of ${chosen.name}, ${plain(chosen.memory)}, is gone`);
  if (chosen.state === 'stub') await proveRevertable(await context.store(), chosen);
  const words = [...(options.running ? ['--running'] : []), ...(options.paused ? ['--paused'] : [])];
  await revertToSnapshot(guest, chosen.name, words);
  const back = `${plain(guest)} is back at ${chosen.name}`;
  context.output.text(`${back}.`);
  await offloadMemory(context, chosen.memory, {})
    .catch(warnOf(context, `offload ${chosen.name} again`))
    .catch((error: unknown) => {
      context.output.warning(`${back}, but its memory is not offloaded again yet`);
      throw error;
    });
  context.output.json({ checkpoint: chosen.name, guest });
}
