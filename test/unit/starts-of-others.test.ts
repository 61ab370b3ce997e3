// SPDX-License-Identifier: Apache-2.0
/**
 * Starts that the hook has noted (R25): whom they hold up when the store does not take the mark, and what is
 * not taken for what was started.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { settleStarts } from '../../src/lifecycle/claims.js';
import { listSnapshots } from '../../src/snapshot/snapshots.js';
import type { Store } from '../../src/stores/store.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { HOST, type ImageFixture, imageFixture } from '../support/image-fixture.js';

const OTHER = '99999999-8888-4777-8666-555555555555';
const full = new ParsError('no-space', 'the quota is used up');

let fixture: ImageFixture;

beforeEach(async () => {
  fixture = await imageFixture();
});
afterEach(() => fixture.dispose());

/** Stored once, and started since. */
async function started(uuid: string): Promise<void> {
  writeFileSync(fixture.image, smallImage({ xml: domainXml({ uuid }) }).bytes);
  await fixture.offload();
  rmSync(fixture.image);
  const notes = join(fixture.root, 'state/started');
  mkdirSync(notes, { recursive: true });
  writeFileSync(join(notes, uuid), '');
}

/** Takes no mark on a snapshot of this guest. */
const withoutMarksOf = (uuid: string): Store =>
  new Proxy(fixture.store, {
    get(target, key) {
      const member: unknown = Reflect.get(target, key);
      if (typeof member !== 'function') return member;
      const method = member.bind(target) as (name: string, ...rest: unknown[]) => unknown;
      if (key !== 'createExclusive') return method;
      return (name: string, ...rest: unknown[]) =>
        name.includes(uuid) ? Promise.reject(full) : method(name, ...rest);
    },
  });

describe('a start that cannot be marked', () => {
  it('does not keep the images of other guests from being stored, and is still noted', async () => {
    await started(OTHER);
    writeFileSync(fixture.image, smallImage().bytes);
    expect(await fixture.offload({}, withoutMarksOf(OTHER))).toMatchObject({ stub: true, domainUuid: UUID });
    expect(await fixture.registry.startNoted(OTHER)).toBe(true);
  });

  it('keeps an image of its own guest whole: it would be taken for what was started', async () => {
    await started(UUID);
    const { bytes } = smallImage();
    writeFileSync(fixture.image, bytes);
    await expect(fixture.offload({}, withoutMarksOf(UUID))).rejects.toMatchObject({ kind: 'no-space' });
    expect(readFileSync(fixture.image).equals(bytes)).toBe(true);
    expect(await fixture.registry.startNoted(UUID)).toBe(true);
  });
});

describe('while a command looks for what started', () => {
  /** The fixture's store, in which something happens before the first thing that is asked. */
  function storeAfter(happens: () => Promise<void>): Store {
    let once: Promise<void> | null = null;
    return new Proxy(fixture.store, {
      get(target, key) {
        const member: unknown = Reflect.get(target, key);
        if (typeof member !== 'function') return member;
        const method = member.bind(target) as (...all: unknown[]) => Promise<unknown>;
        return async (...all: unknown[]) => {
          await (once ??= happens());
          return method(...all);
        };
      },
    });
  }

  it('what is stored is not taken for it', async () => {
    await started(UUID);
    const storeAgain = async (): Promise<void> => {
      writeFileSync(fixture.image, smallImage().bytes);
      await fixture.offload();
    };
    await settleStarts(storeAfter(storeAgain), fixture.registry, HOST);
    const states = (await listSnapshots(fixture.store, UUID)).map((entry) =>
      entry.condition === 'whole' ? entry.state : entry.condition,
    );
    expect(states.sort()).toEqual(['consumed', 'stubbed']);
  });

  it('a start is looked for once more', async () => {
    await started(UUID);
    let looks = 0;
    const consumed: number[] = [];
    await fixture.registry.settleStarts(UUID, async () => {
      const look = ++looks;
      if (look === 1) await started(UUID);
      return async () => void consumed.push(look);
    });
    expect(consumed).toEqual([2]);
    expect(await fixture.registry.startNoted(UUID)).toBe(false);
  });
});
