import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { plain } from '../faces/plain.js';
import { formatBytes } from '../faces/units.js';
import { hostStatus, type HostStatus } from '../host-status.js';
import { DEFAULT_SAVE_DIR } from '../install.js';
import type { Job } from '../jobs.js';

interface Options extends SharedOptions {
  saveDir: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description('Show what this host has to do and does: images waiting to be offloaded, work under way, work that failed and why, stubs. Changes nothing; needs no store.')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((options: Options) => cli.run(options, (context) => status(context, options)));
}

async function status(context: Context, { saveDir }: Options): Promise<void> {
  const { stateDir } = await context.config();
  const found = await hostStatus(stateDir, saveDir);
  context.output.json(found);
  context.output.text(render(found));
}

function render({ due, running, failed, stubs }: HostStatus): string {
  const sections = [
    section('Running', running.map((job) => `${job.kind} ${plain(job.image)}, since ${job.began}`)),
    section('Due', due.map(({ image, bytes, reason }) => `${plain(image)} (${formatBytes(bytes)}): ${plain(reason)}`)),
    section('Failed', failed.map(describeFailure)),
    section('Stubs', stubs.map(({ image, snapshot }) => `${plain(image)}: ${snapshot}`)),
  ].filter((text) => text !== '');
  return sections.length === 0 ? 'Nothing to do, nothing running, nothing failed; no stubs on this host.' : sections.join('\n');
}

function section(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${title}:\n${lines.map((line) => `  ${line}`).join('\n')}`;
}

function describeFailure({ kind, image, state, began, error }: Job): string {
  const why = state === 'interrupted' ? 'was interrupted' : `failed: ${plain(error?.message ?? 'unknown reason')}`;
  const hint = error?.hint ? `\n    ${plain(error.hint)}` : '';
  return `${kind} ${plain(image)}, begun ${began}, ${why}${hint}`;
}
