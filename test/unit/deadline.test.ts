// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it, vi } from 'vitest';
import { deadlineSignal } from '../../src/system/deadline.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function aborted(signal: AbortSignal, withinMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(true));
    setTimeout(() => resolve(signal.aborted), withinMs);
  });
}

it('comes although the collector runs meanwhile (R19)', async () => {
  const other = new AbortController();
  const signal = deadlineSignal(200, other.signal);
  await new Promise((resolve) => setTimeout(resolve, 20));
  collect();
  await new Promise((resolve) => setTimeout(resolve, 20));
  collect();
  expect(await aborted(signal, 10_000)).toBe(true);
  expect(other.signal.aborted).toBe(false);
});

it('comes at once when the other signal comes, and with its reason', () => {
  const other = new AbortController();
  const signal = deadlineSignal(60_000, other.signal);
  expect(signal.aborted).toBe(false);
  other.abort('stop');
  expect(signal).toMatchObject({ aborted: true, reason: 'stop' });
  expect(deadlineSignal(60_000, other.signal)).toMatchObject({ aborted: true, reason: 'stop' });
});

it('comes when its time is over and no sooner, also after more days than a timer can wait', () => {
  vi.useFakeTimers();
  try {
    const day = 86_400_000;
    const [signal, other] = [deadlineSignal(60 * day), new AbortController()];
    const stopped = deadlineSignal(60 * day, other.signal);
    vi.advanceTimersByTime(60 * day - 1);
    expect(signal.aborted).toBe(false);
    other.abort('stop');
    vi.advanceTimersByTime(1);
    expect(signal.reason).toMatchObject({ name: 'TimeoutError', message: `${60 * day} ms are over` });
    expect(stopped.reason).toBe('stop');
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
