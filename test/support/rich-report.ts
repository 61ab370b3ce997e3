// SPDX-License-Identifier: Apache-2.0
/** A report of a guest that has everything, as the reader could have told it: for tests of faces. */
import { PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import { presetPolicy } from '../../src/policy/policy.js';
import type { InspectionFacts } from '../../src/reader/inspection.js';
import type { MemoryMap } from '../../src/reader/page-map.js';
import { type ImageReport, type ReportFacts, reportOn } from '../../src/report/report.js';

export const EVIL = `</script><img src=x onerror=alert(1)> "&'é \u001b[2J`;

const SHARES: Record<PageClass, number> = {
  kernel: 60_000,
  free: 260_000,
  'clean-cache': 380_000,
  'mapped-cache': 40_000,
  'dirty-cache': 6_000,
  'other-cache': 20_000,
  anon: 210_000,
  shmem: 18_000,
  slab: 42_000,
  'page-table': 6_000,
  offline: 1_000,
  device: 5_576,
};

export function richFacts(): ReportFacts & { map: MemoryMap } {
  const classes = Object.fromEntries(
    PAGE_CLASSES.map((name) => {
      const zeroPages = name === 'free' ? 150_000 : 0,
        payloadPages = SHARES[name] - zeroPages;
      return [
        name,
        {
          pages: SHARES[name],
          payloadPages,
          fillPages: 0,
          zeroPages,
          sample: { pages: 100, compressedBytes: 100 * 1500 },
        },
      ];
    }),
  ) as unknown as InspectionFacts['classes'];
  const domain = {
    name: `web ${EVIL}`,
    uuid: '11111111-2222-3333-4444-555555555555',
    machine: 'pc-q35-7.2',
    memoryBytes: 2 ** 32,
    disks: [],
    policy: null,
    optOut: false,
    acceptChangedDisks: false,
    acceptUncomparedDisks: false,
    diskReferences: true,
  };
  return {
    path: '/var/lib/libvirt/qemu/save/web.save',
    image: {
      bytes: 900_000 * 4104,
      format: 'raw',
      wasRunning: true,
      streamOffset: 5000,
      domain,
      headEnd: 0,
      headDigest: null,
      stubRecord: null,
    },
    inspection: {
      guest: { introspected: true, kernel: '6.1.0-56-amd64', reason: null },
      ram: { pageSize: 4096, pages: 1 << 20, zeroPages: 150_000 },
      classes,
      reasons: PAGE_CLASSES.map((name) => ({
        class: name,
        reason: 'plain',
        rule: 'R8',
        text: `of class ${name}`,
        pages: SHARES[name],
      })),
      notes: [{ text: 'other-cache: held by somebody besides the cache (R9)', pages: 20_000 }],
      stream: {
        machine: 'pc-q35-7.2',
        payloadRecords: 1,
        zeroRecords: 1,
        repeatedRecords: 0,
        mappedBlocks: [],
      },
      recovery: { folios: 1, writes: 1 },
    },
    map: richMap(),
    files: Array.from({ length: 12 }, (_, i) => ({
      cleanPages: 9000 - 700 * i,
      file: {
        inode: `0x${(77 + i).toString(16)}`,
        bytes: '0x2000000',
        mode: 0o100644,
        fileSystem: 'ext4',
        superBlock: 'vda1',
        path: i === 3 ? null : `/srv/www/${i === 1 ? EVIL : `asset-${i}.bin`}`,
      },
    })),
  };
}

/** Cells of 16 pages, classes in stretches of many lengths, below and above the PCI hole. */
function richMap(): MemoryMap {
  let state = 7;
  const runs = (cells: number): [PageClass, number][] => {
    const out: [PageClass, number][] = [];
    for (let left = cells; left > 0;) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      const length = Math.min(left, 1 + ((state >>> 8) % 900));
      out.push([PAGE_CLASSES[(state >>> 20) % 11] ?? 'kernel', length]);
      left -= length;
    }
    return out;
  };
  return {
    cellPages: 16,
    segments: [
      { gpa: 0, bytes: 2 ** 31, runs: runs(32_768) },
      { gpa: 2 ** 32, bytes: 2 ** 31, runs: runs(32_768) },
    ],
  };
}

export function richReport(overrides: Partial<ReportFacts> = {}): ImageReport {
  return reportOn({ ...richFacts(), ...overrides }, presetPolicy('lean'));
}
