// SPDX-License-Identifier: Apache-2.0
/** Compressors at work: what they may do, and what becomes of their end. */
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Filter } from '../../src/image/filter.js';

const isRoot = process.getuid?.() === 0;

async function run(command: string, input: Buffer | null = null): Promise<string> {
  const nothing = openSync('/dev/null', 'r');
  const filter = new Filter(['sh', '-c', command], input === null ? nothing : 'pipe');
  try {
    if (input !== null) await filter.write(input);
    filter.end();
    const pieces: Buffer[] = [];
    for await (const piece of filter.output()) pieces.push(piece);
    await filter.finish();
    return Buffer.concat(pieces).toString();
  } finally {
    await filter.close();
    closeSync(nothing);
  }
}

describe('a filter', () => {
  it('gives back what it was given, and its pieces may be used again at once', async () => {
    const filter = new Filter(['cat'], 'pipe');
    const data = Buffer.alloc(1 << 20);
    const read = (async () => {
      const pieces: Buffer[] = [];
      for await (const piece of filter.output()) pieces.push(piece);
      return Buffer.concat(pieces);
    })();
    for (let i = 0; i < 8; i++) {
      data.fill(i);
      await filter.write(data);
    }
    filter.end();
    const all = await read;
    await filter.finish();
    await filter.close();
    expect(all.length).toBe(8 << 20);
    for (let i = 0; i < 8; i++)
      expect(all.subarray(i << 20, (i + 1) << 20).equals(Buffer.alloc(1 << 20, i))).toBe(true);
  });

  it.skipIf(!isRoot)('has no user, privileges, capabilities or network of ours', async () => {
    const status = await run('cat /proc/self/status; echo; tail -n +3 /proc/self/net/dev');
    expect(status).toMatch(/^Uid:\s+6[0-9]{4}\s/m);
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    expect(status).toMatch(/^Cap(Eff|Prm|Bnd):\s+0+$/m);
    expect(status).toMatch(/^Groups:\s*$/m);
    expect(
      status
        .trim()
        .split('\n')
        .filter(
          (line) =>
            /^\s*\w+:\s+\d+ +\d+/.test(line) && !/^\s*lo:/.test(line) && line.split(/\s+/).length > 12,
        ),
    ).toEqual([]);
  });

  it('can write no file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'pars-filter-'));
    chmodSync(directory, 0o777);
    await expect(run(`echo x >${directory}/file`)).rejects.toMatchObject({ kind: 'corrupt' });
    rmSync(directory, { recursive: true });
  });

  it('that fails says so: as damage when it read a file, as a fault of ours when it was fed', async () => {
    await expect(run('echo bad >&2; exit 3')).rejects.toMatchObject({
      kind: 'corrupt',
      message: expect.stringContaining('bad'),
    });
    await expect(run('cat >/dev/null; exit 3', Buffer.from('x'))).rejects.toMatchObject({ kind: 'internal' });
  });

  it('that ends before it has read everything fails the writer', async () => {
    const filter = new Filter(['true'], 'pipe');
    try {
      await expect(
        (async () => {
          for (let i = 0; i < 100; i++) await filter.write(Buffer.alloc(1 << 20));
        })(),
      ).rejects.toMatchObject({ kind: 'internal' });
    } finally {
      await filter.close();
    }
  });

  it('whose program is not there fails', async () => {
    const filter = new Filter(['no-such-program-at-all'], 'pipe');
    filter.end();
    await expect(filter.finish()).rejects.toMatchObject({ kind: 'internal' });
    await filter.close();
    await filter.close();
  });

  it('is ended by a signal of ours', async () => {
    const stop = new AbortController();
    const filter = new Filter(['sleep', '600'], 'pipe', stop.signal);
    stop.abort(new Error('enough'));
    await expect(filter.finish()).rejects.toThrow('enough');
    await filter.close();
  });
});
