// SPDX-License-Identifier: Apache-2.0
/**
 * The moment between image and stub: cut anywhere, the file is one of the two again (R17), and what an
 * earlier offload stored is not given up for it.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { ImageFile } from '../../src/image/image-file.js';
import { encodeStub } from '../../src/image/stub.js';
import { openStub } from '../../src/lifecycle/stub-check.js';
import { probeImage } from '../../src/reader/reader.js';
import { listSnapshots, stateObject } from '../../src/snapshot/snapshots.js';
import { failure } from '../contract/store.js';
import { smallImage, UUID } from '../support/image-builder.js';
import { imageFixture, type ImageFixture } from '../support/image-fixture.js';

const SECTOR = 512;
const { bytes: raw } = smallImage({ frames: 1700 });

let fixture: ImageFixture;
let image: string;
let changes: string;

beforeEach(async () => {
  fixture = await imageFixture();
  ({ image } = fixture);
  changes = join(fixture.root, 'state', 'changes');
  writeFileSync(image, raw);
});
afterEach(() => fixture.dispose());

const notes = (): string[] => (existsSync(changes) ? readdirSync(changes) : []);
const snapshots = async (): Promise<string[]> =>
  (await listSnapshots(fixture.store)).map(({ snapshot }) => snapshot);

/** Works on the image by a descriptor, as all that changes it does. */
async function withImage<T>(work: (file: ImageFile) => Promise<T>): Promise<T> {
  const file = await ImageFile.open(image);
  return work(file).finally(() => file.close());
}

/** Where the record stands in the stub that the image is, and its bytes. */
function recordOf(): Promise<{ offset: number; stub: Buffer }> {
  return withImage(async (file) => {
    const record = openStub(await probeImage(file.fd), image);
    return { offset: record.offset, stub: encodeStub(record) };
  });
}

/** The two sides, sector by sector: bit i of `choice` takes the stub's. */
function mixture(offset: number, stub: Buffer, whole: Buffer, choice: number): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0, i = 0; at < stub.length; i++) {
    const end = Math.min(stub.length, at + SECTOR - ((offset + at) % SECTOR));
    pieces.push((((choice >> i) & 1) === 1 ? stub : whole).subarray(at, end));
    at = end;
  }
  return Buffer.concat(pieces);
}

function overwrite(data: Buffer, offset: number): void {
  const fd = openSync(image, 'r+');
  writeSync(fd, data, 0, data.length, offset);
  closeSync(fd);
}

describe('a power cut between image and stub', () => {
  it('is known by its note though the file system has another device number since the boot', async () => {
    const offset = 5120;
    const whole = raw.subarray(offset, offset + 2 * SECTOR);
    const stub = Buffer.alloc(whole.length, 1);
    await withImage(async (file) => {
      await file.lock();
      await fixture.registry.changes.note(file, { offset, stub, image: whole });
      const [name = ''] = notes();
      const before = name.replace(/^\d+/, (device) => String(Number(device) + 1));
      renameSync(join(changes, name), join(changes, before));
      expect(await fixture.registry.changes.repair(file)).toBe(false);
      expect(notes(), 'the image is whole').toEqual([]);

      await fixture.registry.changes.note(file, { offset, stub, image: whole });
      renameSync(join(changes, name), join(changes, before));
      overwrite(raw.subarray(0, SECTOR), offset + SECTOR);
      expect(await fixture.registry.changes.repair(file)).toBe(false);
      expect(notes(), 'of another file').toEqual([before]);

      overwrite(mixture(offset, stub, whole, 0b10), offset);
      expect(await fixture.registry.changes.repair(file)).toBe(true);
      expect((await file.read(offset, stub.length)).equals(stub)).toBe(true);
      expect(notes()).toEqual([]);
    });
  });

  it('that left any sectors of one and the other ends as a stub, which becomes the image again', async () => {
    const { snapshot } = await fixture.offload();
    const { offset, stub } = await recordOf();
    const whole = raw.subarray(offset, offset + stub.length);
    const sectors = Math.ceil((offset + stub.length) / SECTOR) - Math.floor(offset / SECTOR);
    expect(sectors, 'there is something to mix').toBeGreaterThan(1);
    let passedForWhole = 0;
    for (let choice = 1; choice < (1 << sectors) - 1; choice++) {
      overwrite(raw, 0);
      await withImage((file) => fixture.registry.changes.note(file, { offset, stub, image: whole }));
      overwrite(mixture(offset, stub, whole, choice), offset);
      passedForWhole += await withImage(async (file) =>
        (await probeImage(file.fd).catch(() => null))?.stubRecord === null ? 1 : 0,
      );
      if (choice % 2 === 0)
        expect(await fixture.offload(), String(choice)).toMatchObject({ alreadyStub: true, snapshot });
      expect(await fixture.hydrate(), String(choice)).toMatchObject({ hydrated: true });
      expect(readFileSync(image).equals(raw), String(choice)).toBe(true);
      expect(notes()).toEqual([]);
    }
    expect(passedForWhole, 'the danger is real').toBeGreaterThan(0);
    expect(await snapshots()).toEqual([snapshot]);
  });

  it('leaves alone what is neither side, and what is one of them', async () => {
    const stub = Buffer.alloc(1000, 1),
      whole = raw.subarray(5000, 6000),
      other = Buffer.from(mixture(5000, stub, whole, 1));
    other[900] = (other[900] ?? 0) ^ 1;
    for (const found of [other, whole, stub]) {
      await withImage(async (file) => {
        await file.lock();
        await fixture.registry.changes.note(file, { offset: 5000, stub, image: whole });
        overwrite(found, 5000);
        expect(await fixture.registry.changes.repair(file)).toBe(false);
        expect((await file.read(5000, 1000)).equals(found)).toBe(true);
      });
    }
    expect(notes()).toEqual([]);
  });

  it('is provided for right before the change, and for no longer', async () => {
    const seen: Record<string, number> = {};
    await fixture.offload({ onStep: (step) => (seen[step] = notes().length) });
    expect(seen).toMatchObject({ committed: 0, leased: 1, recorded: 1, stubbed: 0 });
    await fixture.hydrate();
    expect(notes()).toEqual([]);
  });

  it('where nothing can be noted the image stays whole, but a guest wakes', async () => {
    await fixture.offload();
    writeFileSync(changes.replace(/changes$/, 'blocked'), '');
    rmSync(changes, { recursive: true });
    renameSync(changes.replace(/changes$/, 'blocked'), changes);
    expect(await fixture.hydrate()).toMatchObject({ hydrated: true });
    expect(readFileSync(image).equals(raw)).toBe(true);
    await expect(fixture.offload()).rejects.toThrow(/ENOTDIR|EEXIST/);
    expect(readFileSync(image).equals(raw)).toBe(true);
  });
});

it(
  'a hydration tells the store of the starts of its own guest, and leaves those of others to who comes '
    + 'later (R25)',
  async () => {
    await fixture.offload();
    const started = join(fixture.root, 'state', 'started'),
      own = join(started, UUID),
      other = join(started, `99999999${UUID.slice(8)}`);
    mkdirSync(started);
    for (const note of [own, other]) writeFileSync(note, '');
    await expect(fixture.hydrate()).rejects.toThrow(/has been started since/);
    expect(readdirSync(started)).toEqual([`99999999${UUID.slice(8)}`]);
  },
);

describe('what an earlier offload stored', () => {
  it('stays when its stub lies elsewhere by now, though the store was never told of a stub', async () => {
    const { snapshot } = await fixture.offload();
    await fixture.store.remove(stateObject(snapshot, 'stubbed'));
    const moved = `${image}.moved`;
    renameSync(image, moved);
    writeFileSync(image, raw);
    const { snapshot: next } = await fixture.offload();
    expect((await snapshots()).sort()).toEqual([snapshot, next].sort());
    await fixture.hydrate(moved);
    expect(readFileSync(moved).equals(raw)).toBe(true);
  });

  it('and was killed before there was a stub goes when there is another, not before', async () => {
    const { snapshot } = await fixture.offload({ keepLocal: true });
    const { dev, ino, ctimeNs } = await withImage((file) => file.identity());
    const manifest = (await listSnapshots(fixture.store)).find(
      (entry) => entry.condition === 'whole',
    )?.manifest;
    await fixture.registry.add({
      image,
      snapshot,
      token: manifest!.token,
      domainUuid: manifest!.domain.uuid,
      managedSave: true,
      imageVersion: `${dev}:${ino}:${ctimeNs}`,
    });
    const failed = fixture.offload({
      onStep: (step) => {
        if (step === 'packed') throw new Error('stopped');
      },
    });
    await expect(failed).rejects.toThrow('stopped');
    expect(await snapshots()).toEqual([snapshot]);
    const { snapshot: next } = await fixture.offload();
    expect(await snapshots()).toEqual([next]);
    expect((await fixture.registry.all()).map((stub) => stub.snapshot)).toEqual([next]);
  });

  it('is named in the error of an offload whose store fills up after the stub was made', async () => {
    const full = new Proxy(fixture.store, {
      get: (target, key) => {
        if (key === 'createExclusive')
          return () => Promise.reject(new ParsError('no-space', 'no space left'));
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
    const error = await failure(fixture.offload({}, full), 'no-space');
    expect(error.message).toContain(`${image} is a stub of `);
    expect(error.hint).toContain('the guest can start');
    expect(await fixture.offload()).toMatchObject({ alreadyStub: true });
  });
});
