// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { rereadCost } from '../../src/report/reread-cost.js';

test('a lost page is at most one request of 4 KiB', () => {
  expect(rereadCost(0)).toEqual({ requests: 0, bytes: 0 });
  expect(rereadCost(30_674)).toEqual({ requests: 30_674, bytes: 125_640_704 });
});
