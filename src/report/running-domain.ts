// SPDX-License-Identifier: Apache-2.0
/**
 * A domain while it runs: QEMU says where it keeps the guest's RAM and on which page tables the vCPUs run,
 * and the RAM is read in place from
 * /proc/PID/mem, read-only. The guest goes on meanwhile, so all figures are estimates,
 * and none is input to an offload.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { foreseeUncompared } from '../disks/foresee.js';
import { readIfThere } from '../system/absence.js';
import { ParsError } from '../errors.js';
import { PAGE_BYTES, PAGE_CLASSES } from '../page-classes.js';
import type { ClassFacts, DomainFacts, ImageFacts, InspectionFacts } from '../reader/inspection.js';
import { type LiveGuest, mapLiveGuest } from '../reader/page-map.js';
import type { ReaderOptions } from '../reader/reader.js';
import { isUuid } from '../system/uuid.js';
import type { ReportFacts } from './report.js';
import { virsh } from '../libvirt/domains.js';
import { unmistakable } from '../libvirt/virsh.js';

const PID_DIR = '/run/libvirt/qemu';
/** What QEMU writes of a page: its record's word and the page; of a zero page the word and one byte. */
const PAGE_RECORD = 8 + PAGE_BYTES,
  ZERO_RECORD = 8 + 1;
/** Header, cookie, and the state of a machine's devices: measured at 60 to 120 KB. */
const DEVICES = 100_000;

/** Looks inside the running domain of that name or UUID. */
export async function lookAtRunning(domain: string, options: ReaderOptions = {}): Promise<ReportFacts> {
  const xml = await virsh('dumpxml', domain, '--security-info');
  const memory = await openMemory(await pidOf(await domainName(domain), domain));
  try {
    const guest = await liveGuest(domain, xml);
    const { domain: facts, inspection, map, files } = await mapLiveGuest(memory.fd, guest, options);
    return {
      path: `domain ${facts.name}`,
      source: 'domain',
      image: imageToBe(facts, inspection, xml),
      inspection,
      uncomparedDisks: await foreseeUncompared(facts.disks, { askLibvirt: true }),
      map,
      files,
    };
  } finally {
    await memory.close();
  }
}

export async function domainName(domain: string): Promise<string> {
  return (await virsh('domname', await domainUuid(domain))).trim();
}

/** virsh's domname takes no name, and its domuuid no UUID. */
export async function domainUuid(domain: string): Promise<string> {
  const known = await unmistakable(domain);
  return isUuid(known) ? known : (await virsh('domuuid', known)).trim();
}

async function pidOf(name: string, domain: string): Promise<number> {
  const text = (await readIfThere(join(PID_DIR, `${name}.pid`))) ?? '';
  const pid = Number.parseInt(text, 10);
  if (pid > 0) return pid;
  throw new ParsError(
    'missing',
    `the domain ${domain} is not running here: ${PID_DIR} holds no process of it`,
    { hint: 'see: virsh list' },
  );
}

async function openMemory(pid: number): Promise<import('node:fs/promises').FileHandle> {
  return open(`/proc/${pid}/mem`, 'r').catch((cause: NodeJS.ErrnoException) => {
    throw new ParsError('refused', `the memory of process ${pid} cannot be read: ${cause.message}`, {
      hint: 'run this as root',
      cause,
    });
  });
}

/** An address that is RAM in every machine, at the same place of its first block. */
const LOW = 0x100000;

/**
 * A few questions to QEMU's monitor; libvirt marks the domain as tainted by them (custom-monitor) in its log,
 * once.
 */
async function liveGuest(domain: string, xml: string): Promise<LiveGuest> {
  const text = await monitor(domain, 'info ramblock'),
    told = parseRamBlocks(text);
  const blocks =
    told.length > 0 ? told : [findRam(text, await monitor(domain, `gpa2hva 0x${LOW.toString(16)}`))];
  return { xml, blocks, vcpus: parseRegisters(await monitor(domain, 'info registers -a')) };
}

async function monitor(domain: string, command: string): Promise<string> {
  return virsh('qemu-monitor-command', domain, '--hmp', command);
}

/**
 * Lines of "name page-size offset used total address [ro]"; none has an address when QEMU is too old to tell.
 */
export function parseRamBlocks(text: string): LiveGuest['blocks'] {
  return [
    ...text.matchAll(/^\s*(\S+)\s+\d+ \S+\s+0x[0-9a-f]+\s+0x([0-9a-f]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)/gm),
  ].map(([, name = '', bytes = '', address = '']) => ({
    name: name.replace(/^\/objects\//, ''),
    bytes,
    address,
  }));
}

/**
 * The guest's one block of RAM, from where a low address of it lies: "Host virtual address for 0x100000
 * (pc.ram) is 0x7f...".
 */
export function findRam(blocks: string, answer: string): LiveGuest['blocks'][number] {
  const [, name = '', address = ''] = /\((\S+)\) is 0x([0-9a-f]+)/.exec(answer) ?? [];
  const line = blocks
    .split(/\r?\n/)
    .map((one) => one.trim().split(/\s+/))
    .find(([first]) => first === name);
  const bytes = line?.at(-1)?.replace(/^0x/, '');
  if (address !== '' && bytes !== undefined)
    return {
      name: name.replace(/^\/objects\//, ''),
      bytes,
      address: (BigInt(`0x${address}`) - BigInt(LOW)).toString(16),
    };
  throw new ParsError('refused', "QEMU does not say where it keeps the guest's memory", {
    hint: 'report on a save image of this guest instead',
  });
}

/** The control registers of each vCPU, in order. */
export function parseRegisters(text: string): LiveGuest['vcpus'] {
  return [...text.matchAll(/^CR0=([0-9a-f]+) CR2=[0-9a-f]+ CR3=([0-9a-f]+) CR4=([0-9a-f]+)/gm)].map(
    ([, cr0 = '0', cr3 = '0', cr4 = '0']) => ({ cr0, cr3, cr4 }),
  );
}

/** The image that a save would write now. */
function imageToBe(domain: DomainFacts, { classes }: InspectionFacts, xml: string): ImageFacts {
  const total = (count: (facts: ClassFacts) => number): number =>
    PAGE_CLASSES.reduce((sum, name) => sum + count(classes[name]), 0);
  const pages = total(({ payloadPages, fillPages }) => payloadPages + fillPages),
    zeros = total(({ zeroPages }) => zeroPages);
  const bytes = pages * PAGE_RECORD + zeros * ZERO_RECORD + Buffer.byteLength(xml) + DEVICES;
  return {
    bytes,
    format: 'running',
    wasRunning: true,
    streamOffset: 0,
    domain,
    headEnd: 0,
    headDigest: null,
    stubRecord: null,
  };
}
