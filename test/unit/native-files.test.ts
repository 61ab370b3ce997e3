// SPDX-License-Identifier: Apache-2.0
/** Leases, locks, room and pipes: what the native addon asks of the operating system. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, fsyncSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { useOpenFiles } from '../support/open-files.js';

const files = useOpenFiles();

describe('leases', () => {
  it('are held until somebody else wants the file, who goes on when they are given up', async () => {
    const path = files.file('x');
    const fd = files.open(path, 'r+');
    expect(native().takeWriteLease(fd)).toBe(true);
    expect(native().leaseHeld(fd)).toBe(true);
    const reader = spawn('cat', [path], { stdio: ['ignore', 'pipe', 'inherit'] });
    const done = once(reader, 'close');
    await expect.poll(() => native().leaseHeld(fd)).toBe(false);
    expect(reader.exitCode).toBeNull();
    native().releaseLease(fd);
    expect(await done).toEqual([0, null]);
  });

  it('are not to be had while somebody else has the file open', () => {
    const path = files.file('x');
    const fd = files.open(path, 'r+');
    const other = files.open(path);
    expect(native().takeWriteLease(fd)).toBe(false);
    expect(native().leaseHeld(fd)).toBe(false);
    files.opened.splice(files.opened.indexOf(other), 1);
    closeSync(other);
    expect(native().takeWriteLease(fd)).toBe(true);
    native().releaseLease(fd);
    native().releaseLease(fd);
  });
});

describe('locks', () => {
  it('exclude each other', () => {
    const path = files.file('x');
    const one = files.open(path, 'r+');
    const two = files.open(path, 'r+');
    expect(native().tryLock(one)).toBe(true);
    expect(native().tryLock(one)).toBe(true);
    expect(native().tryLock(two)).toBe(false);
    native().unlock(one);
    expect(native().tryLock(two)).toBe(true);
  });

  it('of a descriptor that is none are errors with a code', () => {
    expect(() => native().tryLock(9999)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => native().leaseHeld(9999)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => native().tryLock(-1)).toThrow(TypeError);
  });
});

describe('room', () => {
  it('a hole frees blocks and keeps the length', async () => {
    const data = Buffer.alloc(1 << 20, 'x');
    const fd = files.open(files.file(data), 'r+');
    fsyncSync(fd);
    const before = fstatSync(fd).blocks;
    await native().punchHole(fd, 4096, (1 << 20) - 4096);
    fsyncSync(fd);
    expect(fstatSync(fd).size).toBe(1 << 20);
    expect(fstatSync(fd).blocks).toBeLessThan(before);
    data.fill(0, 4096);
    expect(readFileSync(join(files.directory, 'file')).equals(data)).toBe(true);
  });

  it('is reserved within and beyond the length, which stays', async () => {
    const fd = files.open(files.file('x'), 'r+');
    await native().reserve(fd, 0, 1 << 20);
    expect(fstatSync(fd)).toMatchObject({ size: 1 });
    expect(fstatSync(fd).blocks * 512).toBeGreaterThanOrEqual(1 << 20);
  });

  it('that there is not is an error with a code', async () => {
    const fd = files.open(files.file('x'), 'r+');
    await expect(native().reserve(fd, 0, 2 ** 46)).rejects.toMatchObject({
      code: expect.stringMatching(/^(ENOSPC|EFBIG)$/) as string,
    });
    await expect(
      native().punchHole(files.open(files.file('y', 'other'), 'r'), 0, 4096),
    ).rejects.toMatchObject({ code: 'EBADF' });
    expect(() => native().reserve(fd, 0, 0)).toThrow(TypeError);
    expect(() => native().punchHole(fd, -4096, 4096)).toThrow(TypeError);
  });

  it('writing back starts without a word', () => {
    const fd = files.open(files.file(Buffer.alloc(1 << 20)), 'r+');
    native().startWriteback(fd, 0, 1 << 20);
    expect(() => native().startWriteback(9999, 0, 1)).toThrow(expect.objectContaining({ code: 'EBADF' }));
  });
});

describe('pipes', () => {
  it('are read to the byte, and short only at their end', async () => {
    const { readFd, writeFd } = native().pipe();
    files.opened.push(readFd);
    writeSync(writeFd, 'abcdef');
    const into = Buffer.alloc(6, '.');
    expect(await native().readFully(readFd, into.subarray(1, 5))).toBe(4);
    expect(into.toString()).toBe('.abcd.');
    const waiting = native().readFully(readFd, into.subarray(0, 5));
    writeSync(writeFd, 'ghi');
    expect(await waiting).toBe(5);
    expect(into.toString()).toBe('efghi.');
    writeSync(writeFd, 'j');
    closeSync(writeFd);
    expect(await native().readFully(readFd, into)).toBe(1);
    expect(await native().readFully(readFd, into)).toBe(0);
    expect(await native().readFully(readFd, into.subarray(0, 0))).toBe(0);
  });

  it('are not inherited by children', () => {
    const { readFd, writeFd } = native().pipe();
    files.opened.push(readFd, writeFd);
    const seen = execFileSync('ls', ['/proc/self/fd'], { encoding: 'utf8' }).split('\n');
    expect(seen).not.toContain(String(readFd));
    expect(seen).not.toContain(String(writeFd));
  });

  it('fill nothing but buffers', () => {
    expect(() => native().readFully(0, 'text' as unknown as Buffer)).toThrow(TypeError);
  });
});
