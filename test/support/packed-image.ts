// SPDX-License-Identifier: Apache-2.0
/** An image packed by the reader, and put together again as restore does. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { native } from '../../src/native.js';
import { FRAME_RECOVERY, PAGE_CLASSES, type PageClass } from '../../src/page-classes.js';
import { PackSession } from '../../src/reader/pack-session.js';
import { ImageError } from '../../src/reader/reader.js';
import type { Stripe } from '../../src/reader/stripe.js';

export async function stripesOf(
  session: PackSession,
  stored: readonly PageClass[] = PAGE_CLASSES,
  level = 1,
): Promise<Stripe[]> {
  const stripes: Stripe[] = [];
  for await (const stripe of session.pack(stored, level)) stripes.push(stripe);
  return stripes;
}

/** The image as restore would rebuild it. */
export async function rebuild(stripes: Stripe[]): Promise<Buffer> {
  const parts: Buffer[] = [];
  for (const { imageOffset, imageBytes, frames } of stripes) {
    const kept = frames.filter((frame) => frame.kind !== FRAME_RECOVERY);
    parts.push(
      await native().assembleStripe({
        imageOffset,
        imageBytes,
        writes: Buffer.alloc(0),
        frames: kept.map(({ kind, data, rawBytes }) => ({ kind, data, rawBytes, lost: null })),
      }),
    );
  }
  return Buffer.concat(parts);
}

export async function packed(fd: number): Promise<Stripe[]> {
  const session = await PackSession.look(fd);
  try {
    return await stripesOf(session);
  } finally {
    await session.close();
  }
}

export async function imageErrorOf(work: Promise<unknown>): Promise<ImageError> {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(ImageError);
  return error as ImageError;
}

export function readersRunning(): number {
  return readdirSync('/proc').filter((pid) => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      return (
        status.startsWith('Name:\tpars-reader\n')
        && status.includes(`PPid:\t${process.pid}\n`)
        && !status.includes('State:\tZ')
      );
    } catch {
      return false;
    }
  }).length;
}
