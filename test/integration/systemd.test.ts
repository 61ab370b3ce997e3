// SPDX-License-Identifier: Apache-2.0
/**
 * A host that boots with systemd: the package's units, the hook and the journal, in a container over this
 * system.
 */
import { expect, test } from 'vitest';
import { withPackages } from '../support/packages.js';

test.skipIf(process.getuid?.() !== 0)(
  "under systemd the timer's service, the hook and a power-off offload what was saved, and a failure is "
    + 'in the journal',
  async () => {
    const said = await withPackages(async ({ image, build }) => [
      'test/support/systemd-host.sh',
      await build(),
      image,
    ]);
    expect(said).toEqual([
      'booted',
      'init has started the timer',
      'offloaded by the service',
      'offloaded by the hook, in a unit of its own',
      'a failure is in the journal',
      'drained at power-off',
    ]);
  },
);
