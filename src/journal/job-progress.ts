// SPDX-License-Identifier: Apache-2.0
/**
 * How far a running job is, in a small file beside the job's own. It is written often and never synced: what
 * a crash leaves of it is not read, and a job is told without it.
 */
import { unlink, writeFile } from 'node:fs/promises';
import { parseJson } from '../system/json-text.js';
import { bestEffort } from '../system/best-effort.js';
import { readIfThere } from '../system/absence.js';
import type { OnProgress } from '../progress.js';

export interface JobProgress {
  done: number;
  /** More than 0. */
  total: number;
  /** At the pace so far; null while there is none. */
  secondsLeft: number | null;
}

/** When the first was told, and what was done by then; milliseconds since the epoch. */
interface Note {
  pid: number;
  since: number;
  first: number;
  done: number;
  total: number;
}

const EVERY_MS = 1000;

export class ProgressNote {
  readonly #path: string;
  #begin: { phase: string; since: number; first: number } | null = null;
  #written = -Infinity;
  #writing: Promise<void> | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  readonly tell: OnProgress = ({ phase, done, total }) => {
    const now = Date.now();
    if (this.#begin?.phase !== phase) this.#begin = { phase, since: now, first: done };
    if (total <= 0 || this.#writing !== null || now - this.#written < EVERY_MS) return;
    this.#written = now;
    const { since, first } = this.#begin;
    const note: Note = { pid: process.pid, since, first, done, total };
    const write = bestEffort(writeFile(this.#path, JSON.stringify(note), { mode: 0o600 }));
    this.#writing = write.then(() => {
      this.#writing = null;
    });
  };

  /** The job has come to its end. */
  async end(): Promise<void> {
    await this.#writing;
    await bestEffort(unlink(this.#path));
  }
}

/** Of the job that `pid` is doing; null when nothing is told, or by another. */
export async function readProgress(path: string, pid: number): Promise<JobProgress | null> {
  const note = parseJson((await readIfThere(path)) ?? '') as Partial<Note> | undefined;
  const { since, first, done, total } = note ?? {};
  if (note?.pid !== pid || !isNumber(since) || !isNumber(first) || !isNumber(done) || !isNumber(total))
    return null;
  const seconds = (Date.now() - since) / 1000;
  const rate = seconds > 0 ? (done - first) / seconds : 0;
  return { done, total, secondsLeft: rate > 0 ? Math.max(0, Math.round((total - done) / rate)) : null };
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
