// SPDX-License-Identifier: Apache-2.0
/** Do the systemd units run while what they need is mounted, at a boot and at a shutdown? */
import { resolve } from 'node:path';
import { neededDirectories, unitsOutOfOrder } from '../install/unit-order.js';
import { DEFAULT_HOOKS_DIR } from '../libvirt/paths.js';
import type { Config } from '../policy/config.js';
import { isThere } from '../system/absence.js';
import { type Check, ok, warning } from './check.js';

/** Nothing where systemd does not run. */
export async function checkUnitOrder(
  { hooksDir, saveDir }: { hooksDir: string; saveDir: string },
  config: Config,
): Promise<Check[]> {
  if (resolve(hooksDir) !== DEFAULT_HOOKS_DIR || !(await isThere('/run/systemd/system'))) return [];
  const wrong = await unitsOutOfOrder(neededDirectories(config, resolve(saveDir)));
  if (wrong.length === 0) return [ok('unit order', 'after what the configuration names is mounted')];
  return [
    warning(
      'unit order',
      `${wrong.join(', ')} ${wrong.length === 1 ? 'is' : 'are'} not what the configuration asks for: at a `
        + 'shutdown the store may be unmounted before the saves are drained',
      'run: pars hooks install',
    ),
  ];
}
