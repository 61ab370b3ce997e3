// SPDX-License-Identifier: Apache-2.0
/** A power-off of a host whose store is on mounts that nothing waits for: its saves are drained into them. */
import { expect, test } from 'vitest';
import { withPackages } from '../support/packages.js';

const WHO = [
  ['libvirt-guests', 'guests'],
  ["libvirt's daemon itself", 'daemon'],
] as const;

test.skipIf(process.getuid?.() !== 0).each(WHO)(
  'a guest that is saved by %s at power-off is drained while the store is mounted',
  async (_, scenario) => {
    const said = await withPackages(async ({ image, build }) => [
      'test/support/systemd-shutdown.sh',
      scenario,
      await build(),
      image,
    ]);
    expect(said).toEqual([
      'booted with its mounts',
      'ordered after its mounts',
      'powered off with nothing saved yet',
      'saved at power-off',
      'drained, with the store still mounted',
    ]);
  },
);
