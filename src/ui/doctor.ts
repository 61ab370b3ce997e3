// SPDX-License-Identifier: Apache-2.0
/** What the doctor found: a line each, and under it what to do. */
import { type Check, type Verdict, verdictOf } from '../doctor/check.js';
import { counted } from '../system/counted.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';

export function renderChecks(checks: readonly Check[], colours: Colours): string {
  const paint: Record<Verdict, (text: string) => string> = {
    ok: colours.green,
    warning: colours.yellow,
    failure: colours.red,
  };
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, verdict, found, todo }) => {
    const line = `${paint[verdict](verdict.padEnd(7))}  ${name.padEnd(width)}  ${plain(found)}`;
    return todo === null ? [line] : [line, `${' '.repeat(width + 11)}${plain(todo)}`];
  });
  return [...lines, '', summary(checks)].join('\n');
}

function summary(checks: readonly Check[]): string {
  const count = (verdict: Verdict): number => checks.filter((check) => check.verdict === verdict).length;
  const verdict = verdictOf(checks);
  if (verdict === 'ok') return 'Everything is as it should be.';
  const found = `${counted(count('failure'), 'failure')}, ${counted(count('warning'), 'warning')}`;
  return `${found}${verdict === 'failure' ? ': this host is not safe to rely on yet.' : '.'}`;
}
