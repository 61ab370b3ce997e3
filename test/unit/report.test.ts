// SPDX-License-Identifier: Apache-2.0
import pc from 'picocolors';
import { describe, expect, it } from 'vitest';
import { renderHtml } from '../../src/ui/html/report-html.js';
import { renderReport } from '../../src/ui/report.js';
import { renderCsv } from '../../src/ui/report-csv.js';
import { formatBytes, formatCount, formatDuration, formatShare } from '../../src/ui/units.js';
import type { ClassFacts, InspectionFacts } from '../../src/reader/inspection.js';
import { PAGE_CLASSES } from '../../src/page-classes.js';
import { customPolicy, presetPolicy } from '../../src/policy/policy.js';
import { headlineOf } from '../../src/report/headline.js';
import { type ReportFacts, reportOn } from '../../src/report/report.js';

function pages(
  payloadPages: number,
  fillPages: number,
  zeroPages: number,
  compressedBytes?: number,
): ClassFacts {
  const sample = compressedBytes === undefined ? null : { pages: 10, compressedBytes };
  return { pages: payloadPages + fillPages + zeroPages, payloadPages, fillPages, zeroPages, sample };
}

const KERNEL = { introspected: true, kernel: '6.1.0-56-amd64', reason: null };

function facts(guest: InspectionFacts['guest'] = KERNEL): ReportFacts {
  const classes = Object.fromEntries(
    PAGE_CLASSES.map((name) => [name, pages(0, 0, 0)]),
  ) as InspectionFacts['classes'];
  classes.kernel = pages(250, 10, 40, 20480);
  classes.free = pages(100, 0, 400, 4096);
  classes['clean-cache'] = pages(200, 0, 0, 16384);
  const domain = {
    name: 'web',
    uuid: '11111111-2222-3333-4444-555555555555',
    machine: 'pc-q35-7.2',
    memoryBytes: 4096000,
    disks: [],
    policy: null,
    optOut: false,
    acceptChangedDisks: false,
    acceptUncomparedDisks: false,
    diskReferences: true,
  };
  return {
    path: '/save/web.save',
    image: {
      bytes: 560 * 4096 + 5000,
      format: 'raw',
      wasRunning: true,
      streamOffset: 5000,
      domain,
      headEnd: 0,
      headDigest: null,
      stubRecord: null,
    },
    inspection: {
      guest,
      ram: { pageSize: 4096, pages: 1000, zeroPages: 440 },
      classes,
      reasons: [],
      notes: [{ text: 'references held', pages: 12 }],
      stream: {
        machine: 'pc-q35-7.2',
        payloadRecords: 560,
        zeroRecords: 440,
        repeatedRecords: 0,
        mappedBlocks: [],
      },
      recovery: { folios: 200, writes: 10 },
    },
  };
}

describe('the report', () => {
  it('has the documented shape', () => {
    const report = reportOn(facts(), presetPolicy('lean'));
    expect(report).toMatchObject({
      image: { path: '/save/web.save', bytes: 560 * 4096 + 5000, format: 'raw', domain: { name: 'web' } },
      guest: { introspected: true, kernel: '6.1.0-56-amd64', reason: null },
      ram: { pageSize: 4096, pages: 1000, zeroPages: 440 },
      policy: 'lean',
    });
    expect(Object.keys(report.classes)).toEqual([...PAGE_CLASSES]);
    expect(report.classes.free).toEqual({
      pages: 500,
      payloadPages: 100,
      fillPages: 0,
      zeroPages: 400,
      expendable: true,
      rawBytes: 409600,
      estimatedCompressedBytes: 40960,
    });
    expect(report.classes.anon).toMatchObject({
      expendable: false,
      rawBytes: 0,
      estimatedCompressedBytes: 0,
    });
    expect(Object.keys(report.policies)).toEqual(['replicate-all', 'pars', 'lean', 'minimal']);
  });

  it('accounts for every byte of the image', () => {
    const { skeleton, classes, policies } = reportOn(facts(), presetPolicy('lean'));
    expect(skeleton.rawBytes).toBe(5000 + 10 * 8);
    const critical = classes.kernel.rawBytes + skeleton.rawBytes;
    expect(policies['replicate-all']?.storedBytes).toBe(
      3 * (critical + classes.free.rawBytes + classes['clean-cache'].rawBytes),
    );
    expect(policies['lean']?.storedBytes).toBe(3 * critical + classes['clean-cache'].rawBytes);
    expect(policies['minimal']?.storedBytes).toBe(3 * critical);
    expect(policies['replicate-all']?.savedVsReplicateAll).toBe(0);
  });

  it('tells estimates from exact numbers', () => {
    const { policies, skeleton } = reportOn(facts(), presetPolicy('lean'));
    expect(policies['minimal']?.estimatedCompressedBytes).toBe(3 * (250 * 4096 * 0.5 + skeleton.rawBytes));
    const text = renderReport(reportOn(facts(), presetPolicy('lean')), pc.createColors(false));
    expect(text).toMatch(/COMPRESSED \(ESTIMATE\) +SAVED +UNCOMPRESSED \(EXACT\)/);
    expect(text).toMatch(/lean .*~ .*configured/);
  });

  it("shows a policy of one's own beside the presets", () => {
    const report = reportOn(
      facts(),
      customPolicy({ base: 'lean', classes: { 'clean-cache': 2 }, force: false }),
    );
    expect(report.policy).toBe('custom');
    expect(report.policies['custom']?.storedBytes).toBe(
      (report.policies['lean']?.storedBytes ?? 0) + 200 * 4096,
    );
  });

  it('counts the head as what it is: stored as it is, in as many copies as critical data', () => {
    const withHead = facts();
    withHead.inspection.classes['clean-cache'].headPages = 50;
    withHead.inspection.restCompressedBytes = 12_345;
    const [before, report] = [facts(), withHead].map((one) => reportOn(one, presetPolicy('lean')));
    expect(report?.classes['clean-cache']).toMatchObject({
      rawBytes: 150 * 4096,
      estimatedCompressedBytes: 150 * 1638.4,
    });
    expect(report?.skeleton).toEqual({
      rawBytes: (before?.skeleton.rawBytes ?? 0) + 50 * 4096,
      estimatedCompressedBytes: 12_345,
    });
    expect(report?.policies['minimal']?.estimatedCompressedBytes).toBe(3 * (250 * 4096 * 0.5 + 12_345));
  });

  it('begins with what would be stored beside what people do today, like with like', () => {
    const report = reportOn(facts(), presetPolicy('minimal'));
    const own = report.policies['minimal']?.estimatedCompressedBytes ?? NaN;
    const copies = report.policies['replicate-all']?.estimatedCompressedBytes ?? NaN;
    expect(headlineOf(report)).toEqual([
      { name: 'minimal', estimatedBytes: own, saved: null },
      { name: '3 copies of the zstd image', estimatedBytes: copies, saved: 1 - own / copies },
      { name: 'the zstd image in RS-6-3', estimatedBytes: copies / 2, saved: 1 - own / (copies / 2) },
    ]);
    expect(report.policies['minimal']?.estimatedSavedVsReplicateAll).toBe(1 - own / copies);
    const text = renderReport(report, pc.createColors(false), 80, { host: 'h1', when: new Date(0) });
    expect(text).toMatch(
      /^guest +web [^]*^report +made on h1, 1970-01-01 00:00 UTC$[^]*^STORED, ALL COPIES/m,
    );
    expect(text).toMatch(/^by Pars, under minimal +~ [\d.]+ \w+\n3 copies of the zstd image .* less$/m);
    expect(text).toMatch(/^free +in no use: blocks of the buddy allocator$/m);
    const page = renderHtml(report, new Date(0), 'h1');
    expect(page).toContain('Report made on h1, 1970-01-01 00:00 UTC');
    expect(page).toContain('by Pars, under minimal');
  });

  it('is at most 100 columns wide, whatever the notes and the terminal are', () => {
    const long = facts({ introspected: false, kernel: null, reason: 'a reason of many words '.repeat(20) });
    long.inspection.notes = [{ text: 'a note of many words '.repeat(12), pages: 5 }];
    long.uncomparedDisks = ['vda is a disk that nobody can compare '.repeat(8)];
    const text = renderReport(reportOn(long, presetPolicy('lean')), pc.createColors(false), 250);
    for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100);
  });

  it('says why it did not look inside', () => {
    const guest = { introspected: false, kernel: null, reason: 'no vCPU runs a Linux kernel' };
    const report = reportOn(facts(guest), presetPolicy('lean'));
    expect(report.guest).toEqual(guest);
    expect(renderReport(report, pc.createColors(false))).toContain(
      'not introspected, so every page is critical: no vCPU runs a Linux kernel',
    );
  });

  it('shows no escape sequence that a guest put into its names', () => {
    const evil = facts({ introspected: true, kernel: '6.1\u001b[2J\u009b31m', reason: null });
    evil.image.domain.name = "-a b;$(x)'é\u001b]0;gotcha\u0007\n";
    const text = renderReport(reportOn(evil, presetPolicy('lean')), pc.createColors(false));
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(text).toContain("-a b;$(x)'é");
  });

  it('aligns its columns', () => {
    const lines = renderReport(reportOn(facts(), presetPolicy('lean')), pc.createColors(false)).split('\n');
    const at = lines.findIndex((line) => line.startsWith('CLASS'));
    const end = (lines[at] ?? '').indexOf('PAGES') + 'PAGES'.length;
    for (const line of lines.slice(at + 1, at + 4)) expect(line.slice(0, end)).toMatch(/\d$/);
  });
});

describe('numbers for people', () => {
  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [4 * 2 ** 30, '4.0 GiB'],
    [2 ** 60, '1024.0 PiB'],
  ])('%i bytes: %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
  it.each([
    [0.4, '0 s'],
    [75, '1 min 15 s'],
    [7260, '2 h 1 min'],
  ])('%d seconds: %s', (seconds, text) => {
    expect(formatDuration(seconds)).toBe(text);
  });
  it('counts and shares', () => {
    expect(formatCount(1234567)).toBe('1 234 567');
    expect(formatCount(999)).toBe('999');
    expect(formatShare(0.6666)).toBe('66.7 %');
  });
});

describe("what the guest's own disks hold", () => {
  const none = Object.fromEntries(PAGE_CLASSES.map((name) => [name, 0])) as NonNullable<
    ReportFacts['onDisks']
  >;
  const report = reportOn({ ...facts(), onDisks: { ...none, 'clean-cache': 150 } }, presetPolicy('lean'));
  const before = reportOn(facts(), presetPolicy('lean'));

  it('is not stored by the policies that leave it there, and by the others it is', () => {
    for (const [name, copies] of [
      ['lean', 1],
      ['pars', 0],
      ['replicate-all', 0],
    ] as const)
      expect(before.policies[name]!.storedBytes - report.policies[name]!.storedBytes).toBe(
        copies * 150 * 4096,
      );
    expect(report.policies['lean']!.durability.scheme.cache.bytes).toBe(50 * 4096);
  });

  it('is a column of the CSV', () => {
    const [head = '', row = '', earlier = ''] = renderCsv([
      { path: '/image', report },
      { path: '/image', report: before },
    ]).split('\r\n');
    const column = head.split(',').indexOf('on_its_disks_bytes');
    expect(row.split(',')[column]).toBe(String(150 * 4096));
    expect(earlier.split(',')[column]).toBe('');
  });

  it('is said, in the table and in words', () => {
    const text = renderReport(report, pc.createColors(false));
    expect(text).toContain('ON ITS DISKS');
    expect(text).toMatch(/own disks hold 600.0 KiB of it, byte for byte/);
    expect(renderHtml(report, new Date(0))).toContain('own disks hold 600.0 KiB');
    expect(renderReport(before, pc.createColors(false))).not.toContain('ON ITS DISKS');
  });
});
