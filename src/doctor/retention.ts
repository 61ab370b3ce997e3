// SPDX-License-Identifier: Apache-2.0
/** What of the store no guest needs, and whether it goes by itself. */
import { StubRegistry } from '../image/stub-registry.js';
import { prune } from '../lifecycle/prune.js';
import type { Config } from '../policy/config.js';
import { summary } from '../queue/tidy.js';
import type { Store } from '../stores/store.js';
import { counted } from '../system/counted.js';
import { thisHost } from '../system/host.js';
import { type Check, ok, warning } from './check.js';

export async function checkRetention(
  store: Store,
  { retention, stateDir }: Config,
  formatBytes: (bytes: number) => string,
): Promise<Check> {
  const registry = new StubRegistry(stateDir);
  const found = summary(await prune({ store, host: thisHost(), registry, retention }, { yes: false }));
  const { due, dueBytes, later, laterBytes } = found;
  if (due + later === 0) return ok('retention', 'nothing in the store is due to be removed, now or later');
  const what =
    `${counted(due, 'snapshot')}, ${formatBytes(dueBytes)}, may go now, `
    + `${counted(later, 'snapshot')}, ${formatBytes(laterBytes)}, later`;
  if (retention.automatic) return ok('retention', `${what}; the worker removes them`);
  const todo = 'remove what is due with "pars prune --yes", or set retention.automatic to true';
  return due === 0 ? ok('retention', what) : warning('retention', what, todo);
}
