// SPDX-License-Identifier: Apache-2.0
/** What the doctor found: a line each, and under it what to do. */
import { type Check, type Outcome, outcomeOf } from '../doctor/check.js';
import { counted } from '../system/counted.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';

export function renderChecks(checks: readonly Check[], colours: Colours): string {
  const paint: Record<Outcome, (text: string) => string> = {
    ok: colours.green,
    warning: colours.yellow,
    failure: colours.red,
  };
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, outcome, found, todo }) => {
    const line = `${paint[outcome](outcome.padEnd(7))}  ${name.padEnd(width)}  ${plain(found)}`;
    return todo === null ? [line] : [line, `${' '.repeat(width + 11)}${plain(todo)}`];
  });
  return [...lines, '', summary(checks)].join('\n');
}

function summary(checks: readonly Check[]): string {
  const count = (outcome: Outcome): number => checks.filter((check) => check.outcome === outcome).length;
  const outcome = outcomeOf(checks);
  if (outcome === 'ok') return 'Everything is as it should be.';
  const found = `${counted(count('failure'), 'failure')}, ${counted(count('warning'), 'warning')}`;
  return `${found}${outcome === 'failure' ? ': this host is not safe to rely on yet.' : '.'}`;
}
