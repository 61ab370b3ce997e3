// SPDX-License-Identifier: Apache-2.0
/**
 * `pars report` on many images at once: the built program on small images, all its faces beside each other.
 */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatBytes } from '../../src/ui/units.js';
import { domainXml, smallImage } from '../support/image-builder.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
let directory: string;
let saves: string;

function pars(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const all = [PROGRAM, 'report', ...args, '--config', join(directory, 'empty.yaml')];
  return new Promise((resolve) => {
    execFile(process.execPath, all, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-many-'));
  saves = join(directory, 'saves');
  mkdirSync(saves);
  writeFileSync(join(directory, 'empty.yaml'), '{}\n');
  const whole = smallImage().bytes;
  writeFileSync(join(saves, 'a.save'), whole);
  writeFileSync(join(saves, 'b.save'), whole.subarray(0, 1_000_000));
  writeFileSync(join(saves, 'c.save'), smallImage({ xml: domainXml({ name: '=1+1,"x"' }) }).bytes);
  writeFileSync(join(saves, 'not-an-image'), 'text');
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

interface Report {
  image: { path: string; bytes: number };
  error?: { kind: string };
  classes: Record<string, { pages: number }>;
  policies: Record<string, { storedBytes: number }>;
  natives: { threeCopies: number; estimatedThreeCopiesOfZstd: number | null; rs63: number };
}

interface Many {
  images: Report[];
  total: {
    guests: number;
    failed: number;
    imageBytes: number;
    criticalBytes: number;
    expendableBytes: number;
    policies: Record<string, number>;
  };
}

describe('pars report on a directory', () => {
  it('says the same in lines, CSV and JSON; a broken image is a line and the exit code', async () => {
    const [text, csv, json] = await Promise.all([
      pars(saves),
      pars('--all', '--save-dir', saves, '--csv'),
      pars(saves, '--json'),
    ]);
    expect([text.code, csv.code, json.code]).toEqual([5, 5, 5]);
    const { images, total } = JSON.parse(json.stdout) as Many;
    expect(images.map(({ image, error }) => [image.path, error?.kind])).toEqual([
      [join(saves, 'a.save'), undefined],
      [join(saves, 'b.save'), 'corrupt'],
      [join(saves, 'c.save'), undefined],
    ]);
    expect(total).toMatchObject({
      guests: 2,
      failed: 1,
      imageBytes: (images[0]?.image.bytes ?? NaN) + (images[2]?.image.bytes ?? NaN),
    });

    const rows = csv.stdout.trimEnd().split('\r\n');
    expect(rows).toHaveLength(4);
    const head = rows[0]?.split(',') ?? [];
    const first = rows[1]?.split(',') ?? [];
    const cell = (name: string): string | undefined => first[head.indexOf(name)];
    expect(first).toHaveLength(head.length);
    expect(cell('lean_bytes')).toBe(String(images[0]?.policies['lean']?.storedBytes));
    expect(cell('kernel_pages')).toBe(String(images[0]?.classes['kernel']?.pages));
    expect(rows[2]).toContain('b.save');
    expect(rows[3]).toContain(`"'=1+1,""x"""`);

    const lines = text.stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(5);
    expect(lines[2]).toMatch(/^not readable .*b\.save/);
    expect(lines[4]).toMatch(/^2 guests, 1 not readable/);
    for (const bytes of [total.imageBytes, total.criticalBytes, total.policies['lean'] ?? NaN])
      expect(lines[4]).toContain(formatBytes(bytes));
  }, 60_000);

  it('sets native storage beside the policies', async () => {
    const { code, stdout } = await pars(join(saves, 'a.save'), '--json');
    expect(code).toBe(0);
    const { image, natives } = JSON.parse(stdout) as Report;
    expect(natives.threeCopies).toBe(3 * image.bytes);
    expect(natives.rs63).toBe(Math.ceil(image.bytes * 1.5));
    expect(natives.estimatedThreeCopiesOfZstd).toBeLessThanOrEqual(3 * image.bytes);
  });

  it('wants to know what to look at', async () => {
    expect(await pars()).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/no image named[^]*--all/) as string,
    });
    expect(await pars(saves, '--csv', '--json')).toMatchObject({ code: 2 });
  });

  it('takes 20 images in one call, one line each; a broken one among them is a line', async () => {
    const many = join(directory, 'twenty');
    mkdirSync(many);
    const whole = smallImage({ frames: 1200 }).bytes;
    for (let i = 0; i < 20; i++)
      writeFileSync(
        join(many, `guest-${String(i).padStart(2, '0')}.save`),
        i === 7 ? whole.subarray(0, 90) : whole,
      );
    const { code, stdout } = await pars(many);
    expect(code).toBe(5);
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(22);
    expect(lines.filter((line) => line.startsWith('not readable'))).toEqual([
      expect.stringContaining('guest-07.save'),
    ]);
    expect(lines[21]).toMatch(/^19 guests, 1 not readable/);
  }, 60_000);
});
