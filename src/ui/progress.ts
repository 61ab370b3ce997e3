// SPDX-License-Identifier: Apache-2.0
/** Progress bars: one for each phase, with rate and time left. */
import cliProgress from 'cli-progress';
import type { OnProgress, ProgressEvent } from '../progress.js';
import { formatBytes, formatDuration } from './units.js';

export interface ProgressBars {
  update: OnProgress;
  stop(): void;
}

/** Draws on `stream`; a new phase ends the bar of the one before. */
export function progressBars(stream: NodeJS.WriteStream): ProgressBars {
  let bar: cliProgress.SingleBar | undefined;
  let phase: string | undefined;
  let started = 0;
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
  };
  const update: OnProgress = (event) => {
    if (event.phase !== phase) {
      stop();
      phase = event.phase;
      started = Date.now();
      bar = newBar(stream, event);
    }
    bar?.setTotal(Math.max(event.total, 1));
    bar?.update(event.done, describe(event, (Date.now() - started) / 1000));
  };
  return { update, stop };
}

function newBar(stream: NodeJS.WriteStream, event: ProgressEvent): cliProgress.SingleBar {
  const bar = new cliProgress.SingleBar(
    {
      stream,
      format: '{phase} {bar} {percentage}%  {amount}  {rate}  {left}',
      hideCursor: true,
      clearOnComplete: true,
      barsize: 30,
      fps: 8,
    },
    cliProgress.Presets.shades_classic,
  );
  bar.start(Math.max(event.total, 1), 0, describe(event, 0));
  return bar;
}

function describe(event: ProgressEvent, seconds: number): Record<string, string> {
  const rate = seconds > 0 ? event.done / seconds : 0;
  const amount = (n: number): string =>
    event.unit === 'bytes' ? formatBytes(n) : `${Math.round(n)} ${event.unit}`;
  const left =
    rate > 0 && event.total > event.done ? `${formatDuration((event.total - event.done) / rate)} left` : '';
  return { phase: event.phase.padEnd(10), amount: amount(event.done), rate: `${amount(rate)}/s`, left };
}
