// SPDX-License-Identifier: Apache-2.0
/**
 * One report in all its faces: the schema holds, and text, CSV and JSON say the same figures. The built
 * program on a real file.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lostCells } from '../../src/ui/html/page-losses.js';
import { formatBytes, formatCount, formatShare } from '../../src/ui/units.js';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import { PRESETS } from '../../src/policy/policy.js';
import type { ImageReport } from '../../src/report/report.js';
import { smallImage } from '../support/image-builder.js';
import { schemaErrors } from '../support/schema.js';

const PROGRAM = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
let directory: string;
let image: string;

function pars(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const all = [PROGRAM, 'report', ...args, '--config', join(directory, 'pars.yaml')];
  return new Promise((resolve) => {
    execFile(process.execPath, all, { env: { ...process.env, COLUMNS: '200' } }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'pars-faces-'));
  writeFileSync(
    join(directory, 'pars.yaml'),
    'policy:\n  base: lean\n  classes:\n    free: 1\n    kernel: 4\n',
  );
  image = join(directory, 'web.save');
  writeFileSync(image, smallImage().bytes);
  writeFileSync(join(directory, 'broken.save'), smallImage().bytes.subarray(0, 900_000));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('one report in all its faces', () => {
  it('every JSON answer follows the published schema', async () => {
    const answers = await Promise.all([
      pars(image, '--json'),
      pars(directory, '--json'),
      pars(join(directory, 'broken.save'), '--json'),
      pars('/nowhere', '--json'),
      pars('--json'),
    ]);
    expect(answers.map(({ code }) => code)).toEqual([0, 5, 5, 4, 2]);
    for (const { stdout } of answers)
      expect(schemaErrors('report', JSON.parse(stdout)), stdout.slice(0, 300)).toEqual([]);
  }, 60_000);

  it('the schema refuses what is no report', async () => {
    const report = JSON.parse((await pars(image, '--json')).stdout) as Record<string, unknown>;
    expect(schemaErrors('report', { ...report, extra: 1 })).not.toEqual([]);
    expect(
      schemaErrors('report', { ...report, ram: { pageSize: 4096, pages: -1, zeroPages: 0 } }),
    ).not.toEqual([]);
    delete report['classes'];
    expect(schemaErrors('report', report)).not.toEqual([]);
  }, 60_000);

  it('text and CSV say what JSON says', async () => {
    const [json, text, csv] = await Promise.all([pars(image, '--json'), pars(image), pars(image, '--csv')]);
    const report = JSON.parse(json.stdout) as ImageReport;
    expect(csvFigures(csv.stdout)).toEqual(figuresOf(report));
    expectInText(report, text.stdout);
  }, 60_000);
});

/** What a row must hold, worked out from the JSON alone. */
function figuresOf({
  image: { path, bytes, domain },
  guest,
  ram,
  classes,
  skeleton,
  policies,
  natives,
  reread,
  policy,
  estimated,
}: ImageReport): Record<string, string> {
  const kept = PAGE_CLASSES.filter((name) => !classes[name].expendable).reduce(
    (sum, name) => sum + classes[name].rawBytes,
    skeleton.rawBytes,
  );
  const expected: Record<string, unknown> = {
    path,
    name: domain.name,
    uuid: domain.uuid,
    kernel: guest.kernel ?? '',
    introspected: guest.introspected,
    estimated,
    image_bytes: bytes,
    ram_bytes: ram.pages * 4096,
    zero_bytes: ram.zeroPages * 4096,
    critical_bytes: kept,
    expendable_bytes: classes.free.rawBytes + classes['clean-cache'].rawBytes,
    reread_bytes: reread.bytes,
    reread_requests: reread.requests,
    skeleton_pages: '',
    skeleton_bytes: skeleton.rawBytes,
    skeleton_estimated_compressed_bytes: skeleton.estimatedCompressedBytes,
    configured_policy: policy,
    native_3x_bytes: natives.threeCopies,
    native_3x_zstd_estimated_bytes: natives.estimatedThreeCopiesOfZstd,
    native_rs63_bytes: natives.rs63,
    on_its_disks_bytes: '',
    error: '',
  };
  for (const name of PAGE_CLASSES) {
    const { pages, rawBytes, estimatedCompressedBytes } = classes[name];
    Object.assign(expected, {
      [`${name}_pages`]: pages,
      [`${name}_bytes`]: rawBytes,
      [`${name}_estimated_compressed_bytes`]: estimatedCompressedBytes ?? '',
    });
  }
  for (const [column, name] of [...PRESETS.map((name) => [name, name]), ['configured', policy]]) {
    const { storedBytes, estimatedCompressedBytes, durability } = policies[
      name as string
    ] as ImageReport['policies'][string];
    Object.assign(expected, {
      [`${column}_bytes`]: storedBytes,
      [`${column}_estimated_compressed_bytes`]: estimatedCompressedBytes ?? '',
      [`${column}_guest_lost_per_year`]: durability.guestLostPerYear,
    });
  }
  return Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, String(value)]));
}

function csvFigures(csv: string): Record<string, string> {
  const [head, row, ...rest] = csv
    .trimEnd()
    .split('\r\n')
    .map((line) => line.split(','));
  expect(rest).toEqual([]);
  expect(row).toHaveLength(head?.length ?? -1);
  return Object.fromEntries((head ?? []).map((name, i) => [name, row?.[i] ?? '']));
}

function expectInText(
  { image: { bytes }, classes, skeleton, policies, natives, reread, ram, map }: ImageReport,
  output: string,
): void {
  for (const one of output.split('\n')) expect(one.length, one).toBeLessThanOrEqual(100);
  const [top = '', text = '', stored = '', losses = ''] = output.split(
    /(?=^CLASS |^POLICY |^GUEST LOST IF)/m,
  );
  const line = (start: string, where = text): string =>
    where.split('\n').find((one) => one.startsWith(`${start} `)) ?? `no line ${start}`;
  const all = PAGE_CLASSES.reduce((sum, name) => sum + classes[name].pages, 0);
  expect(line('image', top)).toContain(formatBytes(bytes));
  expect(line('ram', top)).toContain(formatBytes(ram.zeroPages * 4096));
  for (const name of PAGE_CLASSES.filter((one) => classes[one].pages > 0)) {
    const { pages, rawBytes, estimatedCompressedBytes } = classes[name];
    for (const figure of [
      formatCount(pages),
      formatShare(pages / all),
      formatBytes(rawBytes),
      `~ ${formatBytes(estimatedCompressedBytes ?? NaN)}`,
    ])
      expect(line(name)).toContain(figure);
  }
  expect(line('report', top)).toMatch(/made on \S+, \d{4}-\d\d-\d\d \d\d:\d\d UTC$/);
  expect(line('(no pages)')).toContain(formatBytes(skeleton.rawBytes));
  for (const [name, policy] of Object.entries(policies))
    for (const figure of [
      formatBytes(policy.storedBytes),
      formatShare(policy.savedVsReplicateAll),
      `~ ${formatBytes(policy.estimatedCompressedBytes ?? NaN)}`,
    ])
      expect(line(name, stored)).toContain(figure);
  const compressed = [natives.estimatedThreeCopiesOfZstd, natives.estimatedRs63OfZstd].map(
    (estimated) => `~ ${formatBytes(estimated ?? NaN)}`,
  );
  for (const [i, name] of ['3 copies of the zstd image', 'the zstd image in RS-6-3'].entries())
    expect(line(name, top)).toContain(compressed[i]);
  for (const figure of [formatBytes(natives.threeCopies), compressed[0]])
    expect(line('3 x image', stored)).toContain(figure);
  for (const figure of [formatBytes(natives.rs63), compressed[1]])
    expect(line('RS-6-3 image', stored)).toContain(figure);
  const ways = [
    ...Object.entries(policies),
    ['RS-6-3 image', { durability: natives.durability.rs63 }] as const,
  ];
  for (const [name, { durability }] of ways)
    for (const cell of lostCells(durability)) expect(line(name, losses)).toContain(cell);
  expect(map).toBeUndefined();
  if (reread.requests > 0) expect(output).toContain(formatBytes(reread.bytes));
}
