// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { EXIT_CODES } from '../errors.js';
import { plain } from '../ui/plain.js';
import { formatBytes, formatDuration } from '../ui/units.js';
import { hostStatus, type HostStatus } from '../status/host-status.js';

import type { Failure } from '../journal/failures.js';
import type { Job } from '../journal/jobs.js';
import { lossInWords, type NotedLoss } from '../journal/losses.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  saveDir: string;
}

/** Earlier failures and losses shown to people; --json has all that are kept. */
const SHOWN = 5;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Show what this host has to do and does: images waiting to be offloaded, work under way, work '
        + 'that failed and why, stubs, the last failures, and starts that lost expendable pages. Changes '
        + 'nothing; needs no store. For monitoring: exits with 0 when all is well, with the code of the '
        + "latest failure's kind while something has failed and is not made good, with 8 when work was "
        + 'interrupted or an image waits longer than queue.overdue.',
    )
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((options: Options) => cli.run(options, (context) => status(context, options)));
}

async function status(context: Context, { saveDir }: Options): Promise<number> {
  const { stateDir, queue } = await context.config();
  const found = await hostStatus(stateDir, saveDir);
  const overdue = found.due
    .filter(({ since }) => Date.now() - Date.parse(since) > queue.overdueMs)
    .map(({ image }) => image);
  const exitCode = exitCodeFor(found, overdue.length);
  context.output.json({ ...found, overdue, ok: exitCode === 0 });
  context.output.text(render(found));
  return exitCode;
}

function exitCodeFor({ failed }: HostStatus, overdue: number): number {
  const error = failed.find(({ state }) => state === 'failed')?.error;
  if (error) return EXIT_CODES[error.kind];
  return failed.length > 0 || overdue > 0 ? EXIT_CODES.busy : 0;
}

function render({ due, running, failed, stubs, failures, losses }: HostStatus): string {
  const sections = [
    section(
      'Running',
      running.map((job) => `${job.kind} ${plain(job.image)}, since ${job.began}`),
    ),
    section(
      'Due',
      due.map(
        ({ image, bytes, since, reason }) =>
          `${plain(image)} (${formatBytes(bytes)}, `
          + `${formatDuration((Date.now() - Date.parse(since)) / 1000)} old): ${plain(reason)}`,
      ),
    ),
    section('Failed', failed.map(describeFailed)),
    section(
      'Stubs',
      stubs.map(({ image, snapshot }) => `${plain(image)}: ${snapshot}`),
    ),
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

function describeFailed({ kind, image, state, began, error }: Job): string {
  const why =
    state === 'interrupted' ? 'was interrupted' : `failed: ${plain(error?.message ?? 'unknown reason')}`;
  const hint = error?.hint ? `\n    ${plain(error.hint)}` : '';
  return `${kind} ${plain(image)}, begun ${began}, ${why}${hint}`;
}

function describeFailure({ time, work, subject, message }: Failure): string {
  return `${time} ${work} ${plain(subject)}: ${plain(message)}`;
}

function describeLoss({ time, image, losses }: NotedLoss): string {
  return `${time} ${plain(image)}: ${lossInWords(losses)}`;
}
