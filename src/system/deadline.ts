// SPDX-License-Identifier: Apache-2.0
/**
 * The longest that setTimeout can wait, a little less than 25 days; of anything longer it makes a
 * millisecond.
 */
const LONGEST_WAIT_MS = 2 ** 31 - 1;

/**
 * A signal that comes after some time, or when another one comes. Not AbortSignal.any over
 * AbortSignal.timeout: in Node 20 the collector takes the timeout's signal, which nobody else holds, and the
 * deadline never comes.
 */
export function deadlineSignal(ms: number, other?: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = (): void =>
    controller.abort(other?.aborted ? other.reason : new DOMException(`${ms} ms are over`, 'TimeoutError'));
  const cancel = after(ms, abort);
  if (other?.aborted) abort();
  else other?.addEventListener('abort', abort, { once: true });
  controller.signal.addEventListener('abort', cancel, { once: true });
  return controller.signal;
}

/** A signal that comes with the first of those that there are. */
export function eitherSignal(...signals: (AbortSignal | undefined)[]): AbortSignal {
  const controller = new AbortController();
  for (const signal of signals) {
    if (signal?.aborted) controller.abort(signal.reason);
    signal?.addEventListener('abort', () => controller.abort(signal.reason), { once: true });
  }
  return controller.signal;
}

/**
 * Does `work` after that time, in as many waits as it takes; none of them keeps the process alive. Returns
 * what calls it off.
 */
function after(ms: number, work: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = (left: number): void => {
    const now = Math.min(left, LONGEST_WAIT_MS);
    timer = setTimeout(left > now ? () => wait(left - now) : work, now).unref();
  };
  wait(ms);
  return () => clearTimeout(timer);
}
