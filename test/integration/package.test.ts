// SPDX-License-Identifier: Apache-2.0
/**
 * The Debian package, built, installed, used on a save image, upgraded, and removed: not while there is a
 * stub (R29). In a root of its own over this system's.
 */
import { expect, test } from 'vitest';
import { withPackages } from '../support/packages.js';

test.skipIf(process.getuid?.() !== 0)(
  'the package is installed, used, kept while there is a stub, upgraded and removed',
  async () => {
    const said = await withPackages(async ({ image, build }) => [
      'test/support/package-root.sh',
      await build('0.0.9'),
      await build(),
      image,
    ]);
    expect(said).toEqual([
      expect.stringMatching(/^installed \d/),
      'complete',
      'offloaded',
      'refused',
      'upgraded',
      'restored',
      'hydrated',
      'removed',
    ]);
  },
);
