// SPDX-License-Identifier: Apache-2.0
/**
 * The guests of the matrix: every kernel on every file system, and shapes of machine that are covered rather
 * than multiplied.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SUITES, type DiskSpec, type Guest, type GuestOptions } from './lab.js';
import type { MatrixGuest } from './matrix-guest.js';

const FILE_SYSTEMS = {
  /** mkfs.ext4 gives small disks blocks of 1 KiB unless told otherwise. */
  ext4: { disks: [{ fs: 'ext4', generate: 160, mkfs: '-b 4096' }] },
  squashfs: { disks: [{ fs: 'squashfs', generate: 160 }] },
  /** The upper layer is on a disk of its own: files that are written go there. */
  'overlay on ext4': {
    disks: [
      { fs: 'ext4', generate: 160, mkfs: '-b 4096' },
      { fs: 'ext4', generate: 8, seed: 2, size: 200, mkfs: '-b 4096' },
    ],
    cmdline: 'pars.fill=99 pars.overlay=1',
  },
  'ext4, data=journal': {
    disks: [{ fs: 'ext4', generate: 160, mkfs: '-b 4096' }],
    cmdline: 'pars.mount.vda=data=journal pars.written=12',
  },
  'xfs, reflinked': { disks: [{ fs: 'xfs', generate: 160 }], vcpus: 2, cmdline: 'pars.clones=12' },
  xfs: { disks: [{ fs: 'xfs', generate: 160 }], vcpus: 2 },
  'ext4, 1 KiB blocks': { disks: [{ fs: 'ext4', generate: 160, mkfs: '-b 1024' }] },
  btrfs: { disks: [{ fs: 'btrfs', generate: 160 }], vcpus: 2 },
  /** Copied onto disks that stand on vdb: see lab/guest/stack.c. */
  'ext4 on LVM': stacked('linear', { fs: 'ext4', generate: 120, mkfs: '-b 4096' }),
  'xfs, striped': stacked('striped', { fs: 'xfs', generate: 120 }),
  'ext4 on LUKS': stacked('crypt', { fs: 'ext4', generate: 120, mkfs: '-b 4096' }),
  'ext4 on thin LVM': stacked('thin', { fs: 'ext4', generate: 120, mkfs: '-b 4096' }),
  'xfs on md raid1': stacked('raid1', { fs: 'xfs', generate: 120 }),
  'squashfs by loop': stacked('loop', { fs: 'squashfs', generate: 120 }),
} satisfies Record<string, GuestOptions & { disks: DiskSpec[] }>;

export type FileSystem = keyof typeof FILE_SYSTEMS;

const STACKED = [
  'ext4 on LVM',
  'xfs, striped',
  'ext4 on LUKS',
  'ext4 on thin LVM',
  'xfs on md raid1',
  'squashfs by loop',
] as const satisfies FileSystem[];

function stacked(kind: string, disk: DiskSpec): GuestOptions & { disks: DiskSpec[] } {
  const holder: DiskSpec[] = kind === 'loop' ? [{ fs: 'ext4', size: 320, mkfs: '-b 4096' }] : [];
  return { disks: [disk, { fs: 'blank', size: 800 }, ...holder], cmdline: `pars.fill=55 pars.stack=${kind}` };
}

const SHAPES: (Omit<MatrixGuest, 'fs'> & { fs?: FileSystem })[] = [
  { kernel: 'trixie', shape: 'q35, 2 vCPUs', options: { machine: 'q35', vcpus: 2 } },
  { kernel: 'bookworm', shape: 'pc, 5-level paging', options: { cpu: 'max' }, prepare: hasFlag('la57') },
  { kernel: 'bookworm', fs: 'xfs', shape: 'pc, 192 MiB', options: { memoryMiB: 192 } },
  {
    kernel: 'bookworm',
    shape: 'pc, page-table isolation',
    options: { cmdline: 'pars.fill=55 pti=on' },
    prepare: hasFlag('pti'),
  },
  {
    kernel: 'trixie',
    shape: 'pc, two NUMA nodes',
    options: { memfd: true, vcpus: 2, elements: cells(192, 128) },
  },
  {
    kernel: 'trixie',
    shape: 'pc, balloon inflated',
    options: { memoryMiB: 448, balloon: true },
    prepare: inflated,
  },
  {
    kernel: 'bookworm',
    shape: 'q35, a DIMM plugged in',
    options: {
      machine: 'q35',
      elements: `<maxMemory slots='2' unit='MiB'>1024</maxMemory>${cells(320)}`,
      cmdline: 'pars.fill=55 memhp_default_state=online',
    },
    prepare: plugged,
  },
  { kernel: 'trixie', shape: 'pc, init_on_free=1', options: { cmdline: 'pars.fill=55 init_on_free=1' } },
  { kernel: 'bookworm', shape: 'pc, page_poison=1', options: { cmdline: 'pars.fill=55 page_poison=1' } },
  {
    kernel: 'trixie',
    shape: 'q35, 4608 MiB',
    options: {
      machine: 'q35',
      memoryMiB: 4608,
      cmdline: 'pars.fill=8',
      disks: [{ fs: 'ext4', generate: 320 }],
    },
  },
];

/** Recipes for private state come last, so that a run can go on while they are made. */
export const GUESTS: MatrixGuest[] = [
  ...SUITES.flatMap((kernel) =>
    (['ext4', 'squashfs', 'overlay on ext4'] as const).map((fs) => plain(kernel, fs)),
  ),
  ...SHAPES.map((shape): MatrixGuest => {
    const fs = shape.fs ?? 'ext4';
    return { ...shape, fs, options: { memoryMiB: 320, ...FILE_SYSTEMS[fs], ...shape.options } };
  }),
  ...SUITES.flatMap((kernel) =>
    (['ext4, data=journal', 'xfs, reflinked'] as const).map((fs) => plain(kernel, fs)),
  ),
  // Before 5.11 no kernel tells its drivers' types.
  ...SUITES.filter((kernel) => kernel !== 'bullseye').flatMap((kernel) =>
    STACKED.map((fs) => plain(kernel, fs)),
  ),
  ...SUITES.flatMap((kernel) =>
    (['xfs', 'ext4, 1 KiB blocks', 'btrfs'] as const).map((fs) => plain(kernel, fs)),
  ),
];

function plain(kernel: MatrixGuest['kernel'], fs: FileSystem): MatrixGuest {
  const options: GuestOptions = { memoryMiB: 320, ...FILE_SYSTEMS[fs] };
  return { kernel, fs, shape: (options.vcpus ?? 1) > 1 ? 'pc, 2 vCPUs' : 'pc', options };
}

function cells(...sizesMiB: number[]): string {
  const last = sizesMiB.length - 1;
  const cell = (size: number, id: number): string =>
    `<cell id='${id}' cpus='${id === 0 && last === 0 ? '0' : id}' memory='${size}' unit='MiB'/>`;
  return `<cpu><numa>${sizesMiB.map(cell).join('')}</numa></cpu>`;
}

/** As /proc/cpuinfo tells: what the kernel uses, not what the processor could do. */
function hasFlag(flag: string): (guest: Guest) => Promise<void> {
  return async (guest) => {
    const { line } = await guest.ask('cpu');
    if (!line.split(' ').includes(flag)) throw new Error(`the guest does not use ${flag}: ${line}`);
  };
}

async function inflated(guest: Guest): Promise<void> {
  await guest.lab.virsh('setmem', guest.uuid, '384M', '--live');
  await until(guest, ({ offline }) => offline >= (60 << 20) / 4096);
}

async function plugged(guest: Guest): Promise<void> {
  const { present } = await guest.pageCounts();
  const device = join(guest.lab.dir, `${guest.uuid}-dimm.xml`);
  await writeFile(
    device,
    `<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>`,
  );
  await guest.lab.virsh('attach-device', guest.uuid, device, '--live');
  await until(guest, (counts) => counts.present >= present + (120 << 20) / 4096);
  await guest.ask('fill 60');
  await guest.ask('mark');
}

/** Asks the guest until its page counts are as wanted. */
async function until(
  guest: Guest,
  wanted: (counts: Awaited<ReturnType<Guest['pageCounts']>>) => boolean,
): Promise<void> {
  const end = Date.now() + 120_000;
  let counts = await guest.pageCounts();
  while (!wanted(counts)) {
    if (Date.now() > end) throw new Error(`the guest's memory is not as wanted: ${JSON.stringify(counts)}`);
    counts = await guest.pageCounts();
  }
}
