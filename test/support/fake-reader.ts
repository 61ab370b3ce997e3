// SPDX-License-Identifier: Apache-2.0
/**
 * A reader that a hostile image has taken over: it speaks the protocol, and does what its plan says. Run as
 * `node fake-reader.mjs PLAN REAL-READER MODE [DISK...]`, with the descriptors of a reader.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { FRAME_SKELETON } from '../../src/page-classes.js';
import type { FakePlan } from './taken-over.js';

const ANSWER_FD = 4;
const IMAGE = 1,
  STRIPE = 6,
  TABLE = 7;
/** In a table's payload: its kind, the number of runs, then of each its lead, pages, header and source. */
const FIRST_LEAD = 1 + 4,
  PAGES = 4,
  SOURCE = 10,
  RUN_BYTES = 16;
const PAGE = 4096;

const [planText = '{}', reader = '', mode = '', ...disks] = process.argv.slice(2);
const plan = JSON.parse(planText) as FakePlan;

function write(bytes: Buffer): void {
  for (let done = 0; done < bytes.length;) done += writeSync(ANSWER_FD, bytes, done);
}

function send(type: number, payload: Buffer): void {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(payload.length, 4);
  write(Buffer.concat([header, payload]));
}

/** Messages of the true reader, changed on their way. */
async function relay(change: (type: number, payload: Buffer) => Buffer | null): Promise<void> {
  const child = spawn(reader, [mode, ...disks], {
    stdio: [0, 'ignore', 2, 3, 'pipe', ...disks.map((_, i) => 5 + i)],
  });
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of child.stdio[4] as Readable) {
    held = Buffer.concat([held, piece as Buffer]);
    while (held.length >= 8 && held.length >= 8 + held.readUInt32LE(4)) {
      const end = 8 + held.readUInt32LE(4);
      const changed = change(held.readUInt32LE(0), held.subarray(8, end));
      if (changed !== null) send(held.readUInt32LE(0), changed);
      held = Buffer.from(held.subarray(end));
    }
  }
}

/** Of the stripes behind the head: other runs than the true ones, or a page of its own beside them. */
async function forge(): Promise<void> {
  const { retellAs, moves, ownPage } = plan;
  let stripe = -1;
  await relay((type, payload) => {
    if (type === STRIPE) {
      stripe++;
      if (stripe > 0 && ownPage !== undefined) payload.writeUInt32LE(payload.readUInt32LE(16) + 1, 16);
    }
    if (type !== TABLE || stripe === 0 || payload.readUInt8(0) !== FRAME_SKELETON) return payload;
    if (moves !== undefined)
      payload.writeUInt32LE((payload.readUInt32LE(FIRST_LEAD) + moves) >>> 0, FIRST_LEAD);
    for (let run = FIRST_LEAD; retellAs !== undefined && run < payload.length; run += RUN_BYTES)
      if (payload.readUInt32LE(run + PAGES) > 0) payload.writeUInt8(retellAs, run + SOURCE);
    if (ownPage === undefined) return payload;
    send(TABLE, payload);
    return Buffer.concat([Buffer.of(ownPage), Buffer.alloc(PAGE, 'forged')]);
  });
}

async function lie(ofImage: Record<string, unknown>, ofDomain: Record<string, unknown>): Promise<void> {
  await relay((type, payload) => {
    if (type !== IMAGE) return payload;
    const image = JSON.parse(payload.toString()) as { domain: object };
    const domain = { ...image.domain, ...ofDomain };
    return Buffer.from(JSON.stringify({ ...image, ...ofImage, domain }));
  });
}

/** Tables grow behind their end. */
async function fatten(bytes: number): Promise<void> {
  await relay((type, payload) =>
    type === TABLE ? Buffer.concat([payload, Buffer.alloc(bytes, 1)]) : payload,
  );
}

/** One stripe after another, a byte each. */
async function cutFine(): Promise<void> {
  let begun = false;
  await relay((type, payload) => {
    if (type !== STRIPE) return begun ? null : payload;
    begun = true;
    const table = Buffer.alloc(1 + 4 + 16);
    table.writeUInt8(FRAME_SKELETON, 0);
    table.writeUInt32LE(1, 1);
    table.writeUInt32LE(1, FIRST_LEAD);
    const from = payload.readBigUInt64LE(0);
    for (let at = from; ; at++) {
      const stripe = Buffer.alloc(20);
      stripe.writeBigUInt64LE(at, 0);
      stripe.writeBigUInt64LE(1n, 8);
      stripe.writeUInt32LE(1, 16);
      send(STRIPE, stripe);
      send(TABLE, table);
    }
  });
}

function flood(): never {
  for (;;) write(Buffer.alloc(1 << 20, 'x'));
}

async function main(): Promise<void> {
  const { hangIn, bigAnswer, says, imageLies, lies, fatTables, fineStripes, floods } = plan;
  if (plan.onlyIn !== undefined && !plan.onlyIn.includes(mode)) return relay((_, payload) => payload);
  if (hangIn) {
    setInterval(() => undefined, 1 << 30);
    await once(process, 'never');
  } else if (bigAnswer !== undefined) send(IMAGE, Buffer.from(`[${'[],'.repeat(bigAnswer / 3)}[]]`));
  else if (says) send(IMAGE, Buffer.from(JSON.stringify(says)));
  else if (imageLies || lies) await lie(imageLies ?? {}, lies ?? {});
  else if (fatTables !== undefined) await fatten(fatTables);
  else if (fineStripes) await cutFine();
  else if (floods) flood();
  else await forge();
}

await main();
