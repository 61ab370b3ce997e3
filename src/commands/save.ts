// SPDX-License-Identifier: Apache-2.0
/**
 * `pars save` and `pars managedsave`: libvirt saves a guest, and the command lasts until the image is a stub.
 */
import { lstat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { offloadSaved } from '../cli/saved-image.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { guestName, saveGuest, managedSaveGuest } from '../libvirt/guest.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import { shellWord } from '../system/shell-word.js';
import { plain } from '../system/plain-text.js';
import { describeOffloaded } from '../ui/offloaded.js';

interface Options extends SharedOptions {
  bypassCache?: boolean;
  running?: boolean;
  paused?: boolean;
  imageFormat?: string;
  parallelChannels?: string;
  saveDir?: string;
}

export function register(command: Command, cli: Cli): void {
  addSaveOptions(command)
    .description(
      'Save a running guest to a file (virsh save) and wait until the image is a stub; say what was '
        + 'saved. If the offload fails, the guest is saved all the same, and the image stays as saved. '
        + '"virsh restore FILE" resumes it.',
    )
    .argument('<guest>', 'its name, or its UUID')
    .argument('<file>', 'where libvirt writes the image: a regular file')
    .option('--image-format <format>', 'libvirt 11.2 and later: raw, sparse, zstd, ...')
    .option('--parallel-channels <n>', 'libvirt 11.2 and later, with sparse')
    .action((guest: string, file: string, options: Options) =>
      cli.run(options, (context) => save(context, guest, resolve(file), options)),
    );
}

export function registerManaged(command: Command, cli: Cli): void {
  addSaveOptions(command)
    .description(
      'Save a running guest as libvirt keeps it (virsh managedsave) and wait until the image is a stub; say '
        + 'what was saved. If the offload fails, the guest is saved all the same, and the image stays as '
        + 'saved.',
    )
    .argument('<guest>', 'its name, or its UUID')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .action((guest: string, options: Options) =>
      cli.run(options, (context) => managedSave(context, guest, options)),
    );
}

function addSaveOptions(command: Command): Command {
  return command
    .option('--bypass-cache', "past the host's page cache")
    .option('--running', 'the guest runs when it is resumed')
    .option('--paused', 'the guest is paused when it is resumed');
}

async function save(context: Context, guest: string, file: string, options: Options): Promise<void> {
  await refuseTarget(file);
  await saveGuest(guest, file, wordsFor(options));
  await finish(context, file, false, options);
}

async function managedSave(context: Context, guest: string, options: Options): Promise<void> {
  const file = join(resolve(options.saveDir ?? DEFAULT_SAVE_DIR), `${await guestName(guest)}.save`);
  await managedSaveGuest(guest, wordsFor(options));
  await finish(context, file, true, options);
}

/** libvirt can save to a block device; a stub there would free nothing. */
async function refuseTarget(file: string): Promise<void> {
  const stats = await lstat(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw new ParsError('usage', `cannot save to ${file}: ${error.message}`, { cause: error });
  });
  if (stats === null || stats.isFile()) return;
  const what = stats.isBlockDevice() ? 'a block device, which is not handled' : 'not a regular file';
  throw new ParsError('usage', `${file} is ${what}`, { hint: 'nothing was saved; name a file' });
}

function wordsFor({ bypassCache, running, paused, imageFormat, parallelChannels }: Options): string[] {
  return [
    ...(bypassCache ? ['--bypass-cache'] : []),
    ...(running ? ['--running'] : []),
    ...(paused ? ['--paused'] : []),
    ...(imageFormat === undefined ? [] : ['--image-format', imageFormat]),
    ...(parallelChannels === undefined ? [] : ['--parallel-channels', parallelChannels]),
  ];
}

async function finish(
  context: Context,
  image: string,
  managedSave: boolean,
  options: Options,
): Promise<void> {
  const policyIsFixed = options.policy !== undefined;
  const result = await offloadSaved(context, { image, managedSave, policyIsFixed }).catch(
    (error: unknown) => {
      // All that is said of the error is that it was a signal; the guest is off by now.
      if (context.signal.aborted)
        context.output.warning(`the guest is saved in ${plain(image)}; ${offloadLater(image)}`);
      throw savedOnly(image, error);
    },
  );
  context.output.json(result);
  context.output.text(describeOffloaded(result));
}

function savedOnly(image: string, cause: unknown): unknown {
  if (!(cause instanceof ParsError)) return cause;
  const hint = cause.hint ?? offloadLater(image);
  const message = `the guest is saved in ${plain(image)}, but that is not offloaded: ${cause.message}`;
  return new ParsError(cause.kind, message, { hint, cause });
}

function offloadLater(image: string): string {
  return `offload it later: pars offload ${shellWord(image)}`;
}
