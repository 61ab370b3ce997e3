// SPDX-License-Identifier: Apache-2.0
/** What tests of real guests ask after a start, and of a stub before it. */
import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { expect } from 'vitest';
import type { Manifest } from '../../src/snapshot/manifest.js';
import type { Guest } from './lab.js';
import { STUB_LIMIT, type ParsHost } from './pars-host.js';

const PAGE = 4096;
const SECTOR = 512;

/** Every check of the guest's own; returns the first, which counts what was read again. */
export async function expectSound(guest: Guest): Promise<{ line: string; reads: number }> {
  const check = await guest.check();
  expect(check.line).toMatch(/^PARS-CHECK ok/);
  expect((await guest.deep()).line).toMatch(/^PARS-DEEP ok/);
  return check;
}

/** Pages of clean cache that the guest's newest snapshot does not hold. */
export async function lostCachePages(host: ParsHost, guest: Guest): Promise<number> {
  const { manifest } = await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest));
  expect(manifest.policy.copies['clean-cache']).toBe(0);
  return manifest.classes['clean-cache'].payloadPages;
}

/** A stub that was touched has another inode, length or other bytes. */
export async function fingerprint(path: string): Promise<unknown> {
  const { ino, size, blocks } = await stat(path);
  const sha256 = createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
  return { ino, size, small: blocks * 512 < STUB_LIMIT, sha256 };
}

/** Without the hook its stub does not start, past the page cache or not, and is unharmed. */
export async function expectNoStartWithoutHook(host: ParsHost, guest: Guest): Promise<void> {
  const before = await fingerprint(guest.hostImagePath);
  await host.uninstallHook('--force');
  await expect(guest.start()).rejects.toThrow(/start/);
  await expect(guest.start('--bypass-cache')).rejects.toThrow(/start/);
  expect(await fingerprint(guest.hostImagePath)).toEqual(before);
  await host.installHook();
}

/** It starts, is sound, and has read most of its `lost` pages of clean cache from its disk again. */
export async function expectStartsWithout(lost: number, guest: Guest, ...options: string[]): Promise<void> {
  await guest.start(...options);
  const { line, reads } = await expectSound(guest);
  expect(reads * SECTOR, line).toBeGreaterThan(lost * PAGE * 0.5);
}
