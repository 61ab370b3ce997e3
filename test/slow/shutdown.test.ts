// SPDX-License-Identifier: Apache-2.0
/** A power-off of a host whose store is on mounts that nothing waits for: its saves are drained into them. */
import { expect, test } from 'vitest';
import { withPackages } from '../support/packages.js';

test.skipIf(process.getuid?.() !== 0)(
  "a guest that libvirt's daemon saves at power-off is drained while the store is mounted",
  async () => {
    const said = await withPackages(async ({ image, build }) => [
      'test/support/systemd-shutdown.sh',
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
