// SPDX-License-Identifier: Apache-2.0
/** All the looks, in the order in which they depend on each other. Changes nothing that stays. */
import { ifThere } from '../system/absence.js';
import { liveStubs } from '../image/live-stubs.js';
import { StubRegistry } from '../image/stub-registry.js';
import { thisHost } from '../system/host.js';
import type { Config } from '../policy/config.js';
import { readJobs } from '../journal/jobs.js';
import { proveReader } from '../reader/prove.js';
import { unresolved } from '../status/host-status.js';
import type { Store } from '../stores/store.js';
import { freeBytes } from '../system/disk-space.js';
import { checkCompressedStubs } from './compressed-stubs.js';
import { type Check, checked, failure, ok, warning } from './check.js';
import { checkDisks } from './disks.js';
import { checkHook } from './hook.js';
import { checkConfinement, checkSaveFormat, checkVersions } from './libvirt.js';
import { checkUnitOrder } from './unit-order.js';
import { checkRetention } from './retention.js';
import { checkReverts, checkStore, room } from './store.js';
import { printableUrl } from '../stores/printable-url.js';

export interface DoctorPlaces {
  hooksDir: string;
  saveDir: string;
  /** libvirt's qemu.conf. */
  qemuConf: string;
}

export interface DoctorTools {
  config(): Promise<Config>;
  store(): Promise<Store>;
  formatBytes(bytes: number): string;
}

export async function examine(places: DoctorPlaces, tools: DoctorTools): Promise<Check[]> {
  const checks = await checked('config', async () => checkConfig(await tools.config()));
  checks.push(...(await checked('host', async () => ok('host', `machine-id ${thisHost().machineId}`))));
  checks.push(...(await checked('reader', checkReader)));
  checks.push(
    ...(await checked('libvirt', checkVersions)),
    ...(await checked('save format', () => checkSaveFormat(places.qemuConf))),
  );
  // What is wrong with it is the first of the checks.
  const [read] = await Promise.allSettled([tools.config()]);
  const config = read.status === 'fulfilled' ? read.value : null;
  if (config !== null) {
    checks.push(...(await checked('hook', () => checkHook(places.hooksDir, config.stateDir))));
    checks.push(...(await checked('unit order', () => checkUnitOrder(places, config))));
    if (config.store !== null)
      checks.push(
        ...(await checked('store', async () =>
          checkStore(await tools.store(), config.policy, tools.formatBytes),
        )),
      );
    if (config.store !== null)
      checks.push(
        ...(await checked('retention', async () =>
          checkRetention(await tools.store(), config, tools.formatBytes),
        )),
      );
    checks.push(
      ...(await checked('reverts', async () =>
        checkReverts(await memoriesIn(config.stateDir), () => tools.store()),
      )),
    );
    checks.push(...(await checked('offloads', () => checkJobs(config.stateDir))));
    checks.push(...(await checked('compressed stubs', () => checkCompressedStubs(config.stateDir))));
  }
  const accepted = config?.acceptUncomparedDisks ?? false;
  checks.push(...(await checked('disks', () => checkDisks(accepted))));
  checks.push(...(await checked('save room', () => checkSaveRoom(places.saveDir, tools.formatBytes))));
  checks.push(...(await checked('confinement', () => checkConfinement())));
  return checks;
}

function checkConfig({ file, store, policy }: Config): Check {
  if (store === null)
    return failure(
      'config',
      'usage',
      file === null ? 'there is no configuration, so no store' : `${file} names no store`,
      'set this host up, e.g.: pars init --store local:/srv/d1,/srv/d2,/srv/d3',
    );
  if (file === null)
    return warning(
      'config',
      `no configuration file; store ${printableUrl(store)} from the command line`,
      'put it into /etc/pars/pars.yaml: the hook reads that',
    );
  return ok('config', `${file}: store ${printableUrl(store)}, policy ${policy.name}`);
}

async function checkReader(): Promise<Check> {
  await proveReader();
  return ok('reader', 'starts in its jail');
}

/** Stubs here whose image is the memory of one of libvirt's snapshots. */
async function memoriesIn(stateDir: string): Promise<number> {
  return (await liveStubs(new StubRegistry(stateDir))).filter(({ memoryOf }) => memoryOf !== undefined)
    .length;
}

/** What `pars status` tells of too. */
export async function checkJobs(stateDir: string): Promise<Check> {
  const failed = await unresolved(await readJobs(stateDir));
  return failed.length === 0
    ? ok('offloads', 'none has failed')
    : warning(
        'offloads',
        `${failed.length} failed or were interrupted`,
        'see why: pars status; go on with: pars offload --pending',
      );
}

async function checkSaveRoom(saveDir: string, formatBytes: (bytes: number) => string): Promise<Check> {
  const free = await ifThere(saveDir, freeBytes, null);
  if (free === null)
    return failure(
      'save room',
      'missing',
      `there is no ${saveDir}`,
      'name the directory of managed saves with --save-dir',
    );
  return room('save room', free, saveDir, formatBytes);
}
