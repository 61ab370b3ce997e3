// SPDX-License-Identifier: Apache-2.0
/** Files in a directory of their own, closed and removed after each test. */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';

export interface OpenFiles {
  /** The directory of the test that runs. */
  readonly directory: string;
  /** Descriptors that are closed when the test is over. */
  readonly opened: number[];
  /** Writes a file there, readable by its owner alone; its path. */
  file(bytes: Buffer | string, name?: string): string;
  /** A descriptor that is closed when the test is over. */
  open(path: string, flags?: string): number;
}

/** For each test of the file that calls this. */
export function useOpenFiles(): OpenFiles {
  let directory = '';
  const opened: number[] = [];
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'pars-files-'));
  });
  afterEach(() => {
    for (const fd of opened.splice(0)) closeSync(fd);
    rmSync(directory, { recursive: true, force: true });
  });
  return {
    opened,
    get directory() {
      return directory;
    },
    file(bytes, name = 'file') {
      const path = join(directory, name);
      writeFileSync(path, bytes, { mode: 0o600 });
      return path;
    },
    open(path, flags = 'r') {
      const fd = openSync(path, flags);
      opened.push(fd);
      return fd;
    },
  };
}
