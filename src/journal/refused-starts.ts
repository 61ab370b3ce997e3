// SPDX-License-Identifier: Apache-2.0
/**
 * Starts that the hook refused, one small file a guest in STATE/refused: UUID, and UUID.said once libvirt was
 * told. The hook writes them itself, whether or not the program could be run, and removes them when the guest
 * has started (docs/safety.md, R30).
 */
import { join } from 'node:path';
import { namesIn, readIfThere, statIfThere } from '../system/absence.js';
import { UUID_PATTERN } from '../system/uuid.js';

export interface RefusedStart {
  domainUuid: string;
  time: string;
  /**
   * What the program exited with, or the shell: 126 and more for one that could not be run, or was killed.
   */
  exitCode: number;
  /** Several lines, as the program said it. */
  message: string;
}

const NAME = new RegExp(`^(${UUID_PATTERN})(\\.said)?$`);

/** The last of each guest, the latest first. */
export async function readRefusedStarts(stateDir: string): Promise<RefusedStart[]> {
  const directory = join(stateDir, 'refused');
  const names = await namesIn(directory);
  const notes = await Promise.all(names.map((name) => readNote(directory, name)));
  const latestFirst = notes.flat().sort((a, b) => b.time.localeCompare(a.time));
  return latestFirst.filter(
    (note, i) => latestFirst.findIndex(({ domainUuid }) => domainUuid === note.domainUuid) === i,
  );
}

async function readNote(directory: string, name: string): Promise<RefusedStart[]> {
  const domainUuid = NAME.exec(name)?.[1];
  if (domainUuid === undefined) return [];
  const path = join(directory, name);
  // Gone between the two: the guest has started.
  const text = await readIfThere(path);
  const stats = await statIfThere(path);
  if (text === null || stats === null) return [];
  const [first = '', ...rest] = text.split('\n');
  return [
    {
      domainUuid,
      time: stats.mtime.toISOString(),
      exitCode: Number(first) || 1,
      message: rest.join('\n').trim(),
    },
  ];
}
