// SPDX-License-Identifier: Apache-2.0
/**
 * What Pars makes of the type information of Debian's kernels: see `lab/btf` and
 * `test/native/layout/layout_probe.cc`.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { labScript } from './lab.js';

const run = promisify(execFile);
const PROBE = fileURLToPath(new URL('../../build/Release/layout-probe', import.meta.url));

/** Which layouts were resolved; a problem is empty when there is none. */
export interface KernelLayouts {
  kernel: string;
  problem: string;
  cacheProblem: string;
  /** A member never met in the types that carry the proof; empty when all are known. */
  unknownMember: string;
  /** The types of its modules could be had: not where the mirror has lost a package's other half. */
  modules: boolean;
  folios: boolean;
  bufferHeads: boolean;
  iomap: boolean;
  /** Of files, for people. */
  names: boolean;
  devices: boolean;
  btrfs: boolean;
  btrfsBlocks: boolean;
  xfs: boolean;
}

export interface KernelPackage {
  name: string;
  /** "6.12" */
  series: string;
  flavour: 'amd64' | 'cloud-amd64' | 'rt-amd64';
}

const PACKAGE = /^linux-image-(\d+\.\d+)[-.+a-z0-9]*?-(cloud-amd64|rt-amd64|amd64)$/;

/** All kernels that the suites offer, in ascending order of their versions. */
export async function offeredKernels(): Promise<KernelPackage[]> {
  const names = (await labScript('btf', 'list')).split('\n');
  return names.flatMap((name) => {
    const [, series = '', flavour] = PACKAGE.exec(name) ?? [];
    return flavour === undefined ? [] : [{ name, series, flavour: flavour as KernelPackage['flavour'] }];
  });
}

/** The newest of each series and flavour. */
export function newestOfEach(kernels: KernelPackage[]): KernelPackage[] {
  return [...new Map(kernels.map((kernel) => [`${kernel.series} ${kernel.flavour}`, kernel])).values()];
}

export async function layoutsOf({ name }: KernelPackage): Promise<KernelLayouts> {
  const { stdout } = await run(PROBE, [await labScript('btf', name)]);
  return JSON.parse(stdout) as KernelLayouts;
}

/**
 * What must be resolved on a kernel. Before folios neither private state nor btrfs is proven; where spinlocks
 * can sleep (rt) those of private state are longer than the rules know.
 */
export function expectedLayouts(
  { name, series, flavour }: KernelPackage,
  modules: boolean,
): Partial<KernelLayouts> {
  const [major = 0, minor = 0] = series.split('.').map(Number);
  const folios = major > 5 || minor >= 16;
  const own = major > 6 || (major === 6 && minor >= 1);
  const known = {
    kernel: name,
    problem: '',
    cacheProblem: '',
    unknownMember: '',
    names: true,
    devices: true,
  };
  const state = folios && flavour !== 'rt-amd64';
  return { ...known, folios, bufferHeads: state, iomap: state, ...(modules && { btrfs: own, xfs: own }) };
}
