/** The queue of offloads, with real save images in a directory of saves. What an offload does is stood in for: here it is the order, the lock and the repeats that matter. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { offloadPending, type PendingWork } from '../../src/pending.js';
import { domainXml, smallImage } from '../support/image-builder.js';

let root: string;
let saveDir: string;
let stateDir: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'pars-pending-'));
  [saveDir, stateDir] = [join(root, 'saves'), join(root, 'state')];
  for (const path of [saveDir, stateDir]) mkdirSync(path);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** A whole image, `extra` bytes longer than the smallest. */
function save(name: string, extra = 0): string {
  const path = join(saveDir, `${name}.save`);
  writeFileSync(path, Buffer.concat([smallImage({ xml: domainXml({ name }) }).bytes, Buffer.alloc(extra)]));
  return path;
}

/** Takes an image off the disk as an offload does, and remembers the order. */
function worker(changes: Partial<PendingWork> = {}): PendingWork & { order: string[] } {
  const order: string[] = [];
  const offload = async (image: string): Promise<boolean> => {
    order.push(image);
    rmSync(image);
    return true;
  };
  return { stateDir, saveDir, offload, order, ...changes };
}

describe('the queue of offloads', () => {
  it('takes the largest image first, and every one once', async () => {
    const [small, large, middle] = [save('a', 1000), save('b', 3000), save('c', 2000)];
    const work = worker();
    expect(await offloadPending(work)).toEqual({ worked: true, offloaded: [large, middle, small], left: [] });
    expect(work.order).toEqual([large, middle, small]);
  });

  it('tries an image that fails once, goes on with the others, and says what is left', async () => {
    const [bad, good] = [save('bad', 2000), save('good')];
    const tried: string[] = [];
    const offload = async (image: string): Promise<boolean> => (tried.push(image), image === good && (rmSync(image), true));
    expect(await offloadPending(worker({ offload }))).toMatchObject({ worked: true, offloaded: [good], left: [{ image: bad }] });
    expect(tried).toEqual([bad, good]);
  });

  it('takes images that are saved meanwhile, even one that was tried before', async () => {
    const first = save('first');
    const spare = join(root, 'spare');
    copyFileSync(first, spare);
    let times = 0;
    const offload = async (image: string): Promise<boolean> => {
      rmSync(image);
      if (++times === 1) copyFileSync(spare, first);
      return true;
    };
    expect(await offloadPending(worker({ offload }))).toMatchObject({ offloaded: [first, first], left: [] });
  });

  it('leaves all to a worker that is there, and to the next one what a killed one left', async () => {
    const image = save('a');
    const other = await open(join(stateDir, 'worker.lock'), 'a');
    expect(native().tryLock(other.fd)).toBe(true);
    const work = worker();
    expect(await offloadPending(work)).toMatchObject({ worked: false, offloaded: [], left: [{ image }] });
    expect(work.order).toEqual([]);
    await other.close();
    expect(await offloadPending(work)).toMatchObject({ worked: true, offloaded: [image] });
  });

  it('stops between two images when told to', async () => {
    const [large, small] = [save('a', 1000), save('b')];
    const stop = new AbortController();
    const offload = async (image: string): Promise<boolean> => (stop.abort(), rmSync(image), true);
    expect(await offloadPending(worker({ offload, signal: stop.signal }))).toMatchObject({ offloaded: [large], left: [{ image: small }] });
  });

  it('does nothing with what is no save image', async () => {
    writeFileSync(join(saveDir, 'x.save'), 'no image');
    writeFileSync(join(saveDir, 'readme'), 'no image');
    const work = worker();
    expect(await offloadPending(work)).toEqual({ worked: false, offloaded: [], left: [] });
    expect(work.order).toEqual([]);
  });
});
