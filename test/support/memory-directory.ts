// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';

/**
 * Where files in memory go, if there is such a place. For tests that stop processes, which is no power cut:
 * what was written stays, so the medium does not matter, and memory is fast.
 */
export const MEMORY_DIRECTORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
