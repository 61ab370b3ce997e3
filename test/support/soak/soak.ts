// SPDX-License-Identifier: Apache-2.0
/** See scripts/soak. */
import { readFile } from 'node:fs/promises';
import { exit } from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { coloursFor } from '../../../src/ui/colours.js';
import { renderTable } from '../../../src/ui/table.js';
import { HdfsCluster } from '../hdfs-cluster.js';
import { ParsHost } from '../pars-host.js';
import { Gate } from './gate.js';
import { Random } from './random.js';
import { type Counts, Fault, type Phase, PHASES, SoakedGuest } from './soaked-guest.js';
import { ROOT, Troubles } from './troubles.js';

const GUESTS = 4;
const DAY_MS = 86_400_000;
const POLICY = 'lean\ndisk_references: auto\nretention:\n  consumed: 1s\n  orphan_grace: 1s';

interface Soak {
  host: ParsHost;
  cluster: HdfsCluster;
  troubles: Troubles;
  guests: SoakedGuest[];
  began: number;
}

const began = Date.now();
const say = (line: string): void =>
  console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(7)} ${line}`);

async function run(cycles: number, seed: number, minutes: number): Promise<number> {
  say(`${cycles} cycles, seed ${seed}, ${minutes} minutes at most`);
  const random = new Random(seed);
  const cluster = await HdfsCluster.start({ dataNodes: 3 });
  const host = await ParsHost.start({ store: cluster.url + ROOT }).catch(async (error: unknown) => {
    await cluster.stop();
    throw error;
  });
  try {
    await host.configure(POLICY);
    await host.installHook();
    await host.lab.restartLibvirtd();
    const troubles = new Troubles(host, cluster, new Gate(), random, say);
    const guests = await Promise.all(
      Array.from({ length: GUESTS }, (_, i) => SoakedGuest.boot(host, i, troubles, new Random(seed + i + 1))),
    );
    say('all guests are up');
    const soak = { host, cluster, troubles, guests, began: Date.now() };
    const done = await soaked(soak, cycles, minutes);
    const left = await storeAtTheEnd(soak);
    report(soak, done, left);
    return 0;
  } catch (error) {
    await tell(host, error);
    return 1;
  } finally {
    await host.stop();
    await cluster.stop();
  }
}

/** How many cycles there were. */
async function soaked({ troubles, guests }: Soak, cycles: number, minutes: number): Promise<number> {
  const end = Date.now() + minutes * 60_000;
  let done = 0;
  let failed = false;
  let interrupted = false;
  process.once('SIGINT', () => (interrupted = true));
  const around = troubles.run();
  const cycling = guests.map(async (guest) => {
    while (done < cycles && Date.now() < end && !failed && !interrupted) {
      await guest.cycle();
      say(`cycle ${++done}: ${guest.guest.name}`);
    }
  });
  try {
    await Promise.all(cycling);
  } catch (error) {
    failed = true;
    throw error;
  } finally {
    troubles.end();
    await Promise.allSettled(cycling);
    await around;
  }
  return done;
}

/** Stubs of all guests and their snapshots, no more; then all of them started, and nothing. */
async function storeAtTheEnd(soak: Soak): Promise<string[]> {
  const { host, guests } = soak;
  await sleep(15_000); // of DataNodes that came back the NameNode hears at their next heartbeat
  await Promise.all(guests.map((guest) => guest.saveToStub()));
  await pruneAll(soak);
  await knowsItsStubs(soak);
  const saved = await snapshotsIn(soak);
  const expected = await Promise.all(guests.map(({ guest }) => host.snapshotOf(guest)));
  if (saved.join() !== expected.sort().join())
    throw new Fault(`the store holds ${saved.join(', ')}; the guests need ${expected.join(', ')}`);
  await Promise.all(guests.map((guest) => guest.startAndCheck()));
  await pruneAll(soak);
  const left = await snapshotsIn(soak);
  if (left.length > 0) throw new Fault(`the store still holds ${left.join(', ')}`);
  return saved;
}

/** `pars status` names the stub of each guest. */
async function knowsItsStubs({ host, guests }: Soak): Promise<void> {
  const { stubs } = await host.json<{ stubs: { image: string }[] }>('status');
  const missing = guests.filter(({ guest }) => !stubs.some(({ image }) => image === guest.imagePath));
  if (missing.length === 0) return;
  const listing = await host.lab.exec('sh', [
    '-c',
    'cd /var/lib; ls -lsR libvirt/qemu/save pars; cat pars/jobs/*.json',
  ]);
  throw new Fault(`not known as stubs: ${missing.map(({ guest }) => guest.name).join()}\n${listing.stdout}`);
}

/** Uploads that were killed stay for a day: it passes. */
async function pruneAll(soak: Soak): Promise<void> {
  await soak.host.pars('offload', '--pending', '--quiet');
  for (const path of await filesIn(soak)) await soak.troubles.age(path, 2 * DAY_MS);
  await soak.host.pars('prune', '--yes');
  const { stdout, code } = await soak.host.try('status');
  say(`pars status exits with ${code}: ${stdout.trim()}`);
}

async function filesIn({ cluster }: Soak): Promise<string[]> {
  const listed = await cluster.exec('dfs', '-ls', '-R', ROOT);
  return listed.split('\n').flatMap((line) => (line.startsWith('-') ? [line.slice(line.indexOf(ROOT))] : []));
}

/** The names of directories that hold any file at all: of whole snapshots, and of what is left of others. */
async function snapshotsIn(soak: Soak): Promise<string[]> {
  const names = (await filesIn(soak)).flatMap((path) => {
    const parts = path.slice(ROOT.length + 1).split('/');
    return parts.length > 1 ? [parts.slice(0, -1).join('/')] : [];
  });
  return [...new Set(names)].sort();
}

function report({ troubles, guests, began: from }: Soak, cycles: number, left: readonly string[]): void {
  const total = (key: keyof Counts): string =>
    String(guests.reduce((sum, { counts }) => sum + counts[key], 0));
  const rows: [string, string][] = [
    ['cycles', String(cycles)],
    ['minutes', ((Date.now() - from) / 60_000).toFixed(1)],
    ['saves', total('saves')],
    ['stubs waited for', total('stubsSeen')],
    ['starts from a stub', total('startsFromStub')],
    ['starts from a whole image', total('startsFromWhole')],
    ['cold boots (the guest ran when the power was cut)', total('boots')],
    ['starts that failed for their own reason', total('failedForItsOwnReason')],
    ['saves and starts that failed in trouble, and went well later', total('refusedInTrouble')],
    ['checks of a guest, all passed', total('checks')],
    ...troubles.counts().map(([kind, count]): [string, string] => [kind, String(count)]),
    ['snapshots left for the stubs of all guests', String(left.length)],
    ['snapshots left after their starts', '0'],
    ...PHASES.map((phase): [string, string] => [
      `seconds a cycle, ${phase}`,
      secondsPerCycle(guests, phase, cycles),
    ]),
  ];
  console.log(renderTable([{ heading: 'WHAT' }, { heading: 'COUNT', align: 'right' }], rows, coloursFor({})));
}

function secondsPerCycle(guests: readonly SoakedGuest[], phase: Phase, cycles: number): string {
  const ms = guests.reduce((sum, { spentMs }) => sum + (spentMs.get(phase) ?? 0), 0);
  return (ms / 1000 / Math.max(1, cycles)).toFixed(1);
}

async function tell(host: ParsHost, error: unknown): Promise<void> {
  say(`FAULT: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  if (error instanceof Error && error.cause instanceof Error) say(`because of ${error.cause.message}`);
  const { stdout, stderr } = await host.try('status');
  say(`status: ${stdout}${stderr}`);
  for (const log of ['var/lib/pars/offload.log', 'var/log/libvirt/libvirtd.log']) {
    const text = await readFile(host.lab.hostPath(log), 'utf8').catch(() => '');
    say(`${log}: ${text.split('\n').slice(-30).join('\n')}`);
  }
}

const [cycles = '200', seed = String(Date.now() % 100_000), minutes = '60'] = process.argv.slice(2);
exit(await run(Number(cycles), Number(seed), Number(minutes)));
