// SPDX-License-Identifier: Apache-2.0
/** Three copies of a saved guest, by simple means and by Pars: see scripts/simple-ways. */
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exit } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Guest, GuestOptions } from './lab.js';
import { ParsHost, bytesOnDisk } from './pars-host.js';

interface Row {
  how: string;
  bytes: number;
  saveMs: number;
  startMs: number;
  readAgainBytes: number;
  asks: string;
}

/** How an image gets to three places, and back from one of them. */
interface Way {
  /** What the guest does before. */
  before?: 'drop';
  zstd: boolean;
}

const SECTOR = 512;
/** The guest's kernel reports free pages every two seconds, a sixteenth of what is left each time. */
const REPORTED_MS = 60_000;

/** Free memory that was in use before, files of a real system in its cache, and processes. */
const guestOf = (memoryMiB: number): GuestOptions => ({
  memoryMiB,
  cmdline: `pars.used=${Math.round(memoryMiB / 4)} pars.fill=45 pars.anon=${Math.round(memoryMiB / 16)}`,
  disks: [{ fs: 'ext4', from: '/usr', limit: Math.round(memoryMiB / 2), format: 'raw' }],
});

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

async function shell(host: ParsHost, script: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await host.lab.exec('sh', ['-ec', script, 'sh', ...args]);
  if (code !== 0) throw new Error(`${script}: ${stderr}`);
  return stdout;
}

/** The guest's own check reads all that it had read before. */
async function readAgain(guest: Guest): Promise<number> {
  const { ok, line, reads } = await guest.check();
  if (!ok) throw new Error(line);
  return reads * SECTOR;
}

async function simple(
  host: ParsHost,
  guest: Guest,
  { before, zstd }: Way,
): Promise<Omit<Row, 'how' | 'asks'>> {
  const image = guest.hostImagePath;
  const copies = ['c1', 'c2', 'c3'].map((name) => join(host.lab.dir, name));
  const [first = ''] = copies;
  await guest.ask('mark');
  const saveMs = await timed(async () => {
    if (before !== undefined) await guest.ask(before);
    await guest.managedSave();
    await shell(host, zstd ? 'zstd -q -1 -T0 -f "$1" -o "$2"' : 'cp "$1" "$2"', image, first);
    // A copy that is not on its disk is none.
    await shell(host, 'cp "$1" "$2"; cp "$1" "$3"; sync "$1" "$2" "$3"; rm "$4"', ...copies, image);
  });
  const bytes = (await Promise.all(copies.map(bytesOnDisk))).reduce((sum, each) => sum + each, 0);
  const startMs = await timed(async () => {
    if (zstd) await shell(host, 'zstd -q -d "$1" -o "$2"', first, image);
    else await copyFile(first, image);
    await guest.start();
  });
  const readAgainBytes = await readAgain(guest);
  await Promise.all(copies.map((path) => rm(path)));
  return { bytes, saveMs, startMs, readAgainBytes };
}

async function byPars(host: ParsHost, guest: Guest, policy: string): Promise<Omit<Row, 'how' | 'asks'>> {
  await host.configure(`${policy}\ndisk_references: auto`);
  const used = async (): Promise<number> =>
    Number((await shell(host, 'du -sk --total "$@" | tail -n 1', ...host.disks)).split('\t')[0]) * 1024;
  const usedBefore = await used();
  await guest.ask('mark');
  const saveMs = await timed(async () => {
    await guest.managedSave();
    await host.untilStub(guest.hostImagePath);
  });
  const bytes = (await used()) - usedBefore + (await bytesOnDisk(guest.hostImagePath));
  const startMs = await timed(() => guest.start());
  return { bytes, saveMs, startMs, readAgainBytes: await readAgain(guest) };
}

async function run(memoryMiB: number): Promise<void> {
  const host = await ParsHost.start();
  const rows: Row[] = [];
  const note = (how: string, asks: string, row: Omit<Row, 'how' | 'asks'>): void => {
    rows.push({ how, asks, ...row });
    console.log(line(rows.at(-1)!));
  };
  try {
    const guest = await host.boot({ ...guestOf(memoryMiB), name: 'plain' });
    note('3 copies', 'nothing', await simple(host, guest, { zstd: false }));
    note('zstd -1, 3 copies', 'nothing', await simple(host, guest, { zstd: true }));
    note(
      'caches dropped, zstd -1, 3 copies',
      'an agent',
      await simple(host, guest, { before: 'drop', zstd: true }),
    );
    const reporting = await host.boot({ ...guestOf(memoryMiB), name: 'reporting', balloon: 'reporting' });
    await sleep(REPORTED_MS);
    note(
      'free pages reported, zstd -1, 3 copies',
      'a balloon',
      await simple(host, reporting, { zstd: true }),
    );
    await reporting.ask('drop');
    await sleep(REPORTED_MS);
    note(
      'caches dropped a minute before, free pages reported, zstd -1, 3 copies',
      'both',
      await simple(host, reporting, { before: 'drop', zstd: true }),
    );
    await host.installHook();
    await host.lab.restartLibvirtd();
    note('Pars, lean', 'nothing', await byPars(host, guest, 'lean'));
    note('Pars, minimal', 'nothing', await byPars(host, guest, 'minimal'));
    note('Pars, lean, free pages reported', 'a balloon', await byPars(host, reporting, 'lean'));
  } finally {
    await host.stop();
  }
}

const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

function line({ how, bytes, saveMs, startMs, readAgainBytes, asks }: Row): string {
  const cells = [how, mib(bytes), seconds(saveMs), seconds(startMs), mib(readAgainBytes), asks];
  return `| ${cells.join(' | ')} |`;
}

console.log('| how | bytes stored | saved in | started in | read again | asks of the guest |');
console.log('|---|---|---|---|---|---|');
await run(Number(process.argv[2] ?? 1024));
exit(0);
