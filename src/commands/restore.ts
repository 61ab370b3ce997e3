// SPDX-License-Identifier: Apache-2.0
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { targetFile } from '../cli/target-file.js';
import { plain } from '../system/plain-text.js';
import { formatBytes, formatCount } from '../ui/units.js';
import { thisHost } from '../system/host.js';
import { ParsError } from '../errors.js';

import { restoreDefined } from '../lifecycle/restore-defined.js';
import { restoreManagedSave } from '../lifecycle/restore-managed-save.js';
import { restoreToFile, type Restored } from '../lifecycle/restore.js';
import { settleStarts } from '../lifecycle/claims.js';
import { resolveSnapshot } from '../snapshot/snapshots.js';
import { StubRegistry } from '../image/stub-registry.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  to?: string;
  define?: boolean;
  asManagedSave?: boolean;
  setDisk?: Map<string, string>;
  acceptChangedDisks?: boolean;
  saveDir: string;
  force?: boolean;
}

/** libvirt looks for the file at each start, but only its daemon's own start makes it list what it finds. */
const UNKNOWN_TO_LIBVIRT =
  'libvirt lists the managed save ("virsh dominfo", "virsh managedsave-remove") once its daemon has been '
  + 'restarted, which no running guest notices: systemctl restart libvirtd, or virtqemud.';

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Write the image of a snapshot to a new file, whole or not at all. If every class was stored, it '
        + 'is the original byte for byte. An image that libvirt had compressed is written raw; one saved '
        + 'as sparse stays sparse, and needs libvirt 11.2. --define brings the guest itself to a host '
        + 'that does not know it: the snapshot is claimed for this host, its image becomes a '
        + 'managed save, and the guest is defined from the XML in it, so that "virsh start" resumes it '
        + 'here. With --as-managed-save a guest that is defined here and does not run gets back the managed '
        + 'save that it lost.',
    )
    .argument('<snapshot>', 'its name, the beginning of it, or the UUID of a guest for its latest')
    .option('--to <file>', 'the file to write, in an existing directory')
    .option('--as-managed-save', 'put the image where libvirt looks for it, for a guest that is defined here')
    .option('--define', 'put the image where libvirt looks for it, and define its guest')
    .option(
      '--set-disk <target=path>',
      'with --define: a disk is elsewhere here, e.g. vda=/srv/web.qcow2; may be given several times',
      setDisk,
    )
    .option(
      '--accept-changed-disks',
      "with --define or --as-managed-save: even if the guest's disks are missing or were written to since",
    )
    .option(
      '--save-dir <dir>',
      "with --define or --as-managed-save: libvirt's directory of managed-save images",
      DEFAULT_SAVE_DIR,
    )
    .option(
      '--force',
      'restore even though the guest was started since; with --to: overwrite an existing file',
    )
    .action((snapshot: string, options: Options) =>
      cli.run(options, (context) => restoreOne(context, snapshot, options)),
    );
}

async function restoreOne(context: Context, typed: string, options: Options): Promise<void> {
  refuseUnclear(options);
  const to = options.to === undefined ? null : await targetFile('--to', options.to);
  const place = {
    store: await context.store({ toResume: true }),
    host: thisHost(),
    registry: new StubRegistry((await context.config()).stateDir),
    saveDir: resolve(options.saveDir),
  };
  await settleStarts(place.store, place.registry, place.host);
  const snapshot = await resolveSnapshot(place.store, typed);
  const how = { force: options.force ?? false, signal: context.signal, onProgress: await context.progress() };
  const restored =
    to === null
      ? {
          ...(await (options.define ? restoreDefined : restoreManagedSave)(place, snapshot, {
            ...how,
            moved: options.setDisk ?? new Map(),
            acceptChangedDisks: options.acceptChangedDisks ?? false,
            acceptUncomparedDisks: (await context.config()).acceptUncomparedDisks,
          })),
          changedDisks: [],
        }
      : await restoreToFile(place.store, snapshot, to, how);
  tell(context, options, restored);
}

type Told = Restored & { changedDisks: string[] };

function tell({ output }: Context, options: Options, restored: Told): void {
  const { snapshot, image, bytes, losses, changedDisks } = restored;
  output.json({
    snapshot,
    image,
    bytes,
    pagesLostByPolicy: losses.byPolicy,
    pagesLostUnexpectedly: losses.unexpected,
    pagesRecovered: losses.recovered,
    changedDisks,
  });
  output.text(`Wrote ${plain(image)}, ${formatBytes(bytes)}, from ${snapshot}.`);
  if (options.define) output.text('Its guest is defined here: "virsh start" resumes it.');
  if (options.asManagedSave) output.text('"virsh start" resumes its guest.');
  if (options.define || options.asManagedSave) output.text(UNKNOWN_TO_LIBVIRT);
  if (changedDisks.length > 0)
    output.warning(
      `the guest's disks are not what they were when its memory was saved: `
        + `${changedDisks.map(plain).join('; ')}; put them back before "virsh restore", or it damages their `
        + `file systems`,
    );
  if (losses.unexpected > 0)
    output.warning(
      `${formatCount(losses.unexpected)} expendable pages had no readable copy left and were `
        + `recovered; look at the store: pars verify`,
    );
  const lost = losses.byPolicy + losses.unexpected;
  if (lost > 0)
    output.text(
      `${formatCount(lost)} expendable pages are not in it; the guest reads what it needs of them from `
        + `its disks.`,
    );
}

/** Exactly one place for the image, and options that belong to it. */
function refuseUnclear({ to, define, asManagedSave, setDisk }: Options): void {
  const places = [to !== undefined, define ?? false, asManagedSave ?? false].filter((given) => given);
  if (places.length !== 1)
    throw new ParsError('usage', 'say where the image goes', {
      hint: 'give --to FILE, --define or --as-managed-save, one of them',
    });
  if (define || setDisk === undefined) return;
  throw new ParsError(
    'usage',
    '--set-disk changes the guest that --define defines; without that its image stays as it was',
    { hint: 'leave --set-disk out, or give --define' },
  );
}

function setDisk(text: string, earlier?: Map<string, string>): Map<string, string> {
  const [target = '', ...rest] = text.split('=');
  const path = rest.join('=');
  if (target === '' || !path.startsWith('/'))
    throw new InvalidArgumentError('expected a disk and an absolute path, like vda=/srv/web.qcow2.');
  return new Map([...(earlier ?? []), [target, path]]);
}
