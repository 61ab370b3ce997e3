// SPDX-License-Identifier: Apache-2.0
/** Many guests saved at once, with a "reboot" midway: see scripts/burst. */
import { stat } from 'node:fs/promises';
import { exit, hrtime } from 'node:process';
import type { Guest } from './lab.js';
import { ParsHost, STUB_LIMIT, bytesOnDisk } from './pars-host.js';
import type { HostStatus } from '../../src/status/host-status.js';
import type { Manifest } from '../../src/snapshot/manifest.js';
import { renderTable } from '../../src/ui/table.js';
import { formatBytes } from '../../src/ui/units.js';
import { coloursFor } from '../../src/ui/colours.js';

interface Row {
  guest: Guest;
  imageBytes: number;
  stubBytes: number;
  storedBytes: number;
  offloadedAfterMs: number;
  wokeInMs: number;
  check: string;
}

const MEMORY_MIB = 192;
const BOOTS_AT_ONCE = 2;

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const now = (): number => Number(hrtime.bigint() / 1_000_000n);

async function bootAll(host: ParsHost, count: number): Promise<Guest[]> {
  const guests: Guest[] = [];
  const names = Array.from({ length: count }, (_, i) => `burst-${i}`);
  const boot = async (): Promise<void> => {
    for (let name = names.shift(); name !== undefined; name = names.shift()) {
      guests.push(
        await host.boot({
          name,
          memoryMiB: MEMORY_MIB,
          cmdline: 'pars.fill=40',
          disks: [{ fs: 'ext4', generate: 96 }],
        }),
      );
      console.log(`${name} is up`);
    }
  };
  await Promise.all(Array.from({ length: BOOTS_AT_ONCE }, boot));
  return guests;
}

/**
 * What a power cut does to us: nothing of ours runs any more. In the lab's own PID namespace there is nobody
 * else's.
 */
async function killOurs(host: ParsHost): Promise<number> {
  const script = `n=0; for p in /proc/[0-9]*; do pid=\${p#/proc/}; [ "$pid" = $$ ] && continue
    if tr '\\0' ' ' <"$p/cmdline" 2>/dev/null | grep -Eq 'cli\\.js|pars-reader|work-off'
    then kill -9 "$pid" && n=$((n+1)); fi; done; echo $n`;
  return Number((await host.lab.exec('sh', ['-c', script])).stdout);
}

/** A loop of virsh, as libvirt-guests runs one. Domains that are saved already are none of its business. */
function saveLoop(host: ParsHost): Promise<unknown> {
  return host.lab.exec('sh', [
    '-c',
    'for d in $(virsh -q -c qemu:///system list --uuid); do virsh -q -c qemu:///system managedsave '
      + '"$d"; done',
  ]);
}

async function untilOneRuns(host: ParsHost): Promise<void> {
  const end = now() + 120_000;
  while (now() < end) {
    const { stdout } = await host.try('status', '--json');
    if ((JSON.parse(stdout) as HostStatus).running.length > 0) return;
  }
  throw new Error('no offload began');
}

async function offloaded(host: ParsHost, guest: Guest, began: number): Promise<Row> {
  await host.untilStub(guest.hostImagePath, 600_000);
  const offloadedAfterMs = now() - began;
  const { manifest } = await host.json<{ manifest: Manifest }>('show', await host.snapshotOf(guest));
  const { size } = await stat(guest.hostImagePath);
  return {
    guest,
    imageBytes: size,
    stubBytes: await bytesOnDisk(guest.hostImagePath),
    storedBytes: manifest.storedBytes,
    offloadedAfterMs,
    wokeInMs: 0,
    check: '',
  };
}

async function wake(row: Row): Promise<void> {
  const began = now();
  await row.guest.start();
  row.wokeInMs = now() - began;
  const checks = [await row.guest.check(), await row.guest.deep()];
  row.check = checks.every(({ ok }) => ok) ? 'ok' : checks.map(({ line }) => line).join(' ');
  await row.guest.destroy();
}

async function run(count: number): Promise<number> {
  const host = await ParsHost.start();
  try {
    await host.installHook();
    const guests = await bootAll(host, count);
    const began = now();
    const loop = saveLoop(host);
    await untilOneRuns(host);
    const killed = await killOurs(host);
    await host.lab.restartLibvirtd();
    await loop;
    console.log(
      `killed ${killed} processes and restarted libvirtd ${seconds(now() - began)} after the first save `
        + `began`,
    );
    await saveLoop(host); // what the restart kept the first loop from
    const rows: Row[] = [];
    for (const guest of guests) rows.push(await offloaded(host, guest, began));
    for (const row of rows) await wake(row);
    return report(rows);
  } finally {
    await host.stop();
  }
}

function report(rows: readonly Row[]): number {
  const columns = ['GUEST', 'IMAGE', 'STUB', 'STORED', 'A STUB AFTER', 'RESUMED IN', 'CHECKS'].map(
    (heading) => ({ heading }),
  );
  const cells = rows.map((row) => [
    row.guest.name,
    formatBytes(row.imageBytes),
    formatBytes(row.stubBytes),
    formatBytes(row.storedBytes),
    seconds(row.offloadedAfterMs),
    seconds(row.wokeInMs),
    row.check,
  ]);
  console.log(renderTable(columns, cells, coloursFor({})));
  const bad = rows.filter(({ check, stubBytes }) => check !== 'ok' || stubBytes >= STUB_LIMIT);
  console.log(
    bad.length === 0
      ? `All ${rows.length} guests were offloaded, resumed, and pass their checks.`
      : `${bad.length} of ${rows.length} guests are not sound.`,
  );
  return bad.length === 0 ? 0 : 1;
}

exit(await run(Number(process.argv[2] ?? 10)));
