/**
 * A signal that comes after some time, or when another one comes. Not AbortSignal.any over AbortSignal.timeout: in Node 20 the
 * collector takes the timeout's signal, which nobody else holds, and the deadline never comes.
 */
export function deadlineSignal(ms: number, other?: AbortSignal): AbortSignal {
  const controller = new AbortController();
  const abort = (): void => controller.abort(other?.aborted ? other.reason : new DOMException(`${ms} ms are over`, 'TimeoutError'));
  const timer = setTimeout(abort, ms);
  timer.unref();
  if (other?.aborted) abort();
  else other?.addEventListener('abort', abort, { once: true });
  controller.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  return controller.signal;
}
