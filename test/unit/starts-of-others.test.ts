// SPDX-License-Identifier: Apache-2.0
/**
 * A start that the hook has noted, and the store does not take the mark of it (R25): only that guest waits.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import type { Store } from '../../src/stores/store.js';
import { domainXml, smallImage, UUID } from '../support/image-builder.js';
import { type ImageFixture, imageFixture } from '../support/image-fixture.js';

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
