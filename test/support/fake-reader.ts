// SPDX-License-Identifier: Apache-2.0
/**
 * A reader that a hostile image has taken over: it speaks the protocol, and does what its plan says. Run as
 * `node fake-reader.mjs PLAN REAL-READER MODE [DISK...]`, with the descriptors of a reader.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { native } from '../../src/native.js';
import { FRAME_SKELETON } from '../../src/page-classes.js';
import type { FakePlan } from './taken-over.js';

const ANSWER_FD = 4;
const IMAGE = 1,
  PROGRESS = 2,
  STRIPE = 6,
  FRAME = 7;

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
async function relay(change: (type: number, payload: Buffer) => Promise<Buffer | null>): Promise<void> {
  const child = spawn(reader, [mode, ...disks], {
    stdio: [0, 'ignore', 2, 3, 'pipe', ...disks.map((_, i) => 5 + i)],
  });
  let held: Buffer = Buffer.alloc(0);
  for await (const piece of child.stdio[4] as Readable) {
    held = Buffer.concat([held, piece as Buffer]);
    while (held.length >= 8 && held.length >= 8 + held.readUInt32LE(4)) {
      const end = 8 + held.readUInt32LE(4);
      const changed = await change(held.readUInt32LE(0), held.subarray(8, end));
      if (changed !== null) send(held.readUInt32LE(0), changed);
      held = Buffer.from(held.subarray(end));
    }
  }
}

/** A frame with other bytes, sizes and all as they should be. */
async function repacked(frame: Buffer, change: (raw: Buffer) => void): Promise<Buffer> {
  const raw = await native().decompress(frame.subarray(12), frame.readUInt32LE(8));
  change(raw);
  return Buffer.concat([frame.subarray(0, 12), await native().compress(raw, 1)]);
}

/** The text in its place in the head. */
function replaceText(raw: Buffer, from: string, to: string): void {
  const at = raw.indexOf(from);
  if (at >= 0) raw.write(to, at);
}

async function forge(): Promise<void> {
  let stripe = -1;
  await relay(async (type, payload) => {
    if (type === STRIPE) stripe++;
    if (type !== FRAME) return payload;
    const kind = payload.readUInt8(0);
    const { forgeHead, forgeKind } = plan;
    if (forgeHead && stripe === 0 && kind === FRAME_SKELETON)
      return repacked(payload, (raw) => replaceText(raw, forgeHead.from, forgeHead.to));
    if (forgeKind !== undefined && stripe > 0 && kind === forgeKind && payload.length > 12)
      return repacked(payload, (raw) => (raw[raw.length - 1]! ^= 1));
    return payload;
  });
}

async function lie(ofImage: Record<string, unknown>, ofDomain: Record<string, unknown>): Promise<void> {
  await relay(async (type, payload) => {
    if (type !== IMAGE) return payload;
    const image = JSON.parse(payload.toString()) as { domain: object };
    const domain = { ...image.domain, ...ofDomain };
    return Buffer.from(JSON.stringify({ ...image, ...ofImage, domain }));
  });
}

/** Frames grow behind their end; the sizes they announce do not. */
async function fatten(bytes: number): Promise<void> {
  await relay(async (type, payload) =>
    type === FRAME && payload.length > 12 ? Buffer.concat([payload, Buffer.alloc(bytes, 1)]) : payload,
  );
}

/** One stripe after another, a byte each. */
async function cutFine(): Promise<void> {
  let begun = false;
  await relay(async (type, payload) => {
    if (type !== STRIPE) return begun ? null : payload;
    begun = true;
    const skeleton = Buffer.alloc(21);
    skeleton.writeUInt32LE(1, 0);
    skeleton.writeUInt32LE(1, 4);
    const frame = await native().compress(skeleton, 1);
    const head = Buffer.alloc(12);
    head.writeUInt8(FRAME_SKELETON, 0);
    head.writeUInt32LE(21, 8);
    const from = payload.readBigUInt64LE(0);
    for (let at = from; ; at++) {
      const stripe = Buffer.alloc(20);
      stripe.writeBigUInt64LE(at, 0);
      stripe.writeBigUInt64LE(1n, 8);
      stripe.writeUInt32LE(1, 16);
      send(STRIPE, stripe);
      send(FRAME, Buffer.concat([head, frame]));
    }
  });
}

function flood(kind: 'bytes' | 'progress'): never {
  const text = Buffer.from(JSON.stringify({ phase: 'x', done: 1, total: 2 }));
  for (;;) {
    if (kind === 'progress') send(PROGRESS, text);
    else write(Buffer.alloc(1 << 20, 'x'));
  }
}

async function main(): Promise<void> {
  const { hangIn, bigAnswer, says, imageLies, lies, fatFrames, fineStripes, floods } = plan;
  if (plan.onlyIn !== undefined && !plan.onlyIn.includes(mode)) return relay(async (_, payload) => payload);
  if (hangIn) {
    setInterval(() => undefined, 1 << 30);
    await once(process, 'never');
  } else if (bigAnswer !== undefined) send(IMAGE, Buffer.from(`[${'[],'.repeat(bigAnswer / 3)}[]]`));
  else if (says) send(IMAGE, Buffer.from(JSON.stringify(says)));
  else if (imageLies || lies) await lie(imageLies ?? {}, lies ?? {});
  else if (fatFrames !== undefined) await fatten(fatFrames);
  else if (fineStripes) await cutFine();
  else if (floods) flood(floods);
  else await forge();
}

await main();
