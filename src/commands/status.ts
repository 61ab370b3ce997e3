// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES } from '../errors.js';
import { deadlineSignal } from '../system/deadline.js';
import { plain } from '../system/plain-text.js';
import type { Tidied } from '../journal/tidied.js';
import { counted } from '../system/counted.js';
import { formatBytes, formatDuration } from '../ui/units.js';
import { type BlindSpot, hostStatus, type HostStatus } from '../status/host-status.js';

import type { KnownStub } from '../image/stub-registry.js';
import type { Failure } from '../journal/failures.js';
import type { Job } from '../journal/jobs.js';
import type { RefusedStart } from '../journal/refused-starts.js';
import { lossInWords, type NotedLoss } from '../journal/losses.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  saveDir: string;
}

/** How long an answer of the store is waited for. */
const STORE_WAIT_MS = 5000;

const NO_STORE: BlindSpot = {
  kind: 'usage',
  message: 'no store is configured, so nothing is offloaded',
  hint: 'set this host up with "pars init", or give --store or --config',
};

/** Earlier failures and losses shown to people; --json has all that are kept. */
const SHOWN = 5;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Show the work of this host: images waiting to be offloaded, work under way, work '
        + 'that failed and why, starts that were refused, stubs, stubs that were lost, the last failures, '
        + 'and starts that lost expendable pages. Changes nothing; needs no store, but warns when the memory '
        + 'of a snapshot is in one that does not answer. For monitoring: exits with 0 when all is well, with '
        + "the code of the latest failure's kind while something has failed and is unresolved, with 4 "
        + 'while a stub is gone although its guest was not started, with 8 when work was interrupted or an '
        + 'image waits longer than queue.overdue; what cannot be seen (no store in the configuration, no '
        + 'directory of saves, a save that cannot be read) sets the code by its kind.',
    )
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((options: Options) => cli.run(options, (context) => status(context, options)));
}

async function status(context: Context, { saveDir }: Options): Promise<number> {
  const { stateDir, queue, store, watch } = await context.config();
  const seen = await hostStatus(stateDir, saveDir, watch);
  const found = { ...seen, blindSpots: [...(store === null ? [NO_STORE] : []), ...seen.blindSpots] };
  const overdue = found.due
    .filter(({ since }) => Date.now() - Date.parse(since) > queue.overdueMs)
    .map(({ image }) => image);
  const exitCode = exitCodeFor(found, overdue.length);
  const warnings = await warningsOf(context, found);
  context.output.json({ ...found, overdue, warnings, ok: exitCode === 0 });
  context.output.text(render(found));
  for (const warning of warnings) context.output.warning(plain(warning));
  return exitCode;
}

/**
 * A revert to a snapshot whose memory is a stub must not be begun while the store is away: asked only when
 * there is one.
 */
async function warningsOf(context: Context, { stubs }: HostStatus): Promise<string[]> {
  const memories = stubs.filter(({ memoryOf }) => memoryOf !== undefined);
  const { store } = await context.config();
  if (memories.length === 0 || store === null) return [];
  const { checkReverts } = await import('../doctor/store.js');
  const { openStore } = await import('../stores/open.js');
  const signal = deadlineSignal(STORE_WAIT_MS, context.signal);
  const checks = await checkReverts(memories.length, () => openStore(store, { signal }));
  return checks.filter(({ outcome }) => outcome === 'warning').map(({ found, todo }) => `${found}; ${todo}`);
}

function exitCodeFor({ failed, lost, refused, blindSpots }: HostStatus, overdue: number): number {
  if (lost.length > 0) return EXIT_CODES.missing;
  const error = failed.find(({ state }) => state === 'failed')?.error;
  if (error) return EXIT_CODES[error.kind];
  const code = refused[0]?.exitCode;
  if (code !== undefined) return isOurs(code) ? code : EXIT_CODES.internal;
  const [blind] = blindSpots;
  if (blind) return EXIT_CODES[blind.kind];
  return failed.length > 0 || overdue > 0 ? EXIT_CODES.busy : 0;
}

function render(found: HostStatus): string {
  const {
    due,
    held,
    running,
    failed,
    refused,
    lost,
    discarded,
    tidied,
    stubs,
    failures,
    losses,
    blindSpots,
  } = found;
  const sections = [
    section('Cannot be seen', blindSpots.map(describeBlindSpot)),
    section('Running', running.map(describeRunning)),
    section(
      'Due',
      due.map(
        ({ image, bytes, since, reason }) =>
          `${plain(image)} (${formatBytes(bytes)}, `
          + `${formatDuration((Date.now() - Date.parse(since)) / 1000)} old): ${plain(reason)}`,
      ),
    ),
    section(
      'Held',
      held.map(({ image, bytes, reason }) => `${plain(image)} (${formatBytes(bytes)}): ${plain(reason)}`),
    ),
    section('Lost', lost.map(describeLost)),
    section('Discarded', discarded.map(describeDiscarded)),
    section('Store', tidied === null ? [] : describeTidied(tidied)),
    section('Failed', failed.map(describeFailed)),
    section('Refused starts', refused.filter((start) => !explains(failed, start)).map(describeRefused)),
    section('Stubs', stubs.map(describeStub)),
    section('Last failures', failures.slice(0, SHOWN).map(describeFailure)),
    section('Refilled with losses', losses.slice(0, SHOWN).map(describeLoss)),
  ].filter((text) => text !== '');
  return sections.length === 0
    ? 'Nothing to do, nothing running, nothing failed; no stubs on this host.'
    : sections.join('\n');
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${title}:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

function describeRunning({ kind, image, began, progress }: Job): string {
  const since = `${kind} ${plain(image)}, since ${began}`;
  if (progress === undefined) return since;
  const { done, total, secondsLeft } = progress;
  const left = secondsLeft === null ? '' : `, ${formatDuration(secondsLeft)} left`;
  return `${since}: ${Math.floor((100 * done) / total)} %${left}`;
}

function describeStub({ image, snapshot, consumed, uncomparedDisks = [] }: KnownStub): string {
  if (consumed === true)
    return (
      `${plain(image)}: ${snapshot}\n    its guest was started without it and has moved on, so it cannot be `
      + 'resumed: drop it with "virsh managedsave-remove"'
    );
  const disks = uncomparedDisks.map(
    (disk) => `\n    ${plain(disk)}; a start is refused unless that is accepted`,
  );
  return `${plain(image)}: ${snapshot}${disks.join('')}`;
}

function describeBlindSpot({ message, hint }: BlindSpot): string {
  return `${plain(message)}\n    ${plain(hint)}`;
}

function describeFailed({ kind, image, state, began, error }: Job): string {
  const why =
    state === 'interrupted' ? 'was interrupted' : `failed: ${plain(error?.message ?? 'unknown reason')}`;
  const hint = error?.hint ? `\n    ${plain(error.hint)}` : '';
  return `${kind} ${plain(image)}, begun ${began}, ${why}${hint}`;
}

/** Nothing to say of a store in which a guest needs everything. */
function describeTidied({ time, removed, removedBytes, due, dueBytes, later, laterBytes }: Tidied): string[] {
  const lines = [];
  if (due + later > 0)
    lines.push(
      `${counted(due + later, 'snapshot')} that no guest needs, `
        + `${formatBytes(dueBytes + laterBytes)} (${time}); `
        + `${due} of them, ${formatBytes(dueBytes)}, may go now: pars prune`,
    );
  if (removed > 0)
    lines.push(`${counted(removed, 'snapshot')}, ${formatBytes(removedBytes)}, removed ${time}`);
  return lines;
}

function describeDiscarded({ image, snapshot }: KnownStub): string {
  const name = plain(snapshot);
  return (
    `${plain(image)} is gone, and its guest was started without it; the store keeps its memory for now\n`
    + `    while the guest's disks are as they were: pars restore ${name} --as-managed-save; else it goes by `
    + 'itself (pars prune)'
  );
}

function describeLost({ image, snapshot }: KnownStub): string {
  const name = plain(snapshot);
  return (
    `${plain(image)} is gone, and no start of its guest consumed it\n`
    + `    put it back before the guest is started: pars restore ${name} --as-managed-save; `
    + `or give it up: pars rm --yes ${name}`
  );
}

function describeRefused({ domainUuid, time, message }: RefusedStart): string {
  const lines = message.replace(/^pars: /, '').split('\n');
  return `${time} guest ${domainUuid}: ${lines.map((line) => plain(line.trim())).join('\n    ')}`;
}

/** A hydration that failed says the same, and names the image. */
function explains(failed: readonly Job[], { message }: RefusedStart): boolean {
  return failed.some(({ error }) => error !== null && message.includes(error.message));
}

/** A shell's code tells that the program could not be run, or was killed. */
function isOurs(code: number): boolean {
  return Object.values(EXIT_CODES).includes(code);
}

function describeFailure({ time, work, subject, message }: Failure): string {
  return `${time} ${work} ${plain(subject)}: ${plain(message)}`;
}

function describeLoss({ time, image, losses }: NotedLoss): string {
  return `${time} ${plain(image)}: ${lossInWords(losses)}`;
}
