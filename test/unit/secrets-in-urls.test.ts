// SPDX-License-Identifier: Apache-2.0
/** A password that somebody wrote into the URL of a store is never printed, and never works. */
import { describe, expect, it } from 'vitest';
import { runPars } from '../support/run-pars.js';

const URLS = [
  'webhdfs://bob:hunter2@nn1:9870/pars',
  'hdfs://bob:hunter2@nn1/pars',
  'webhdfs://nn1:9870/pars?user=bob&password=hunter2',
  'webhdfs://nn1:9870/pars?delegation=hunter2',
  'https://hunter2@nn1/pars',
  'bob:hunter2@nn1',
];

describe('a store URL with a secret in it', () => {
  it.each(URLS)('%s is refused without saying it', async (url) => {
    for (const call of [['store', 'status'], ['list'], ['store', 'init'], ['doctor'], ['list', '--json']]) {
      const { exitCode, stdout, stderr } = await runPars(...call, '--store', url);
      expect(exitCode).not.toBe(0);
      expect(`${stdout}${stderr}`).not.toContain('hunter2');
    }
  });
});
