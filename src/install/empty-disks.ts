// SPDX-License-Identifier: Apache-2.0
/** Mounted disks that hold nothing yet: what a new store may be made of. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { ifThere } from '../system/absence.js';

const DISK_FILE_SYSTEMS = new Set(['ext4', 'xfs', 'btrfs', 'zfs', 'ext3', 'f2fs']);

/** Their mount points, one for each device, none on the device of /. */
export async function emptyDisks(mountInfo = '/proc/self/mountinfo'): Promise<string[]> {
  const seen = new Set([(await stat('/')).dev]);
  const found: string[] = [];
  for (const path of mountPoints(await readFile(mountInfo, 'utf8'))) {
    const device = (await ifThere(path, (there) => stat(there), null))?.dev;
    if (device === undefined || seen.has(device)) continue;
    seen.add(device);
    const names = await readdir(path);
    if (names.every((name) => name === 'lost+found')) found.push(path);
  }
  return found;
}

/** Lines of mountinfo(5): "ID PARENT DEVICE ROOT POINT OPTIONS ... - TYPE SOURCE OPTIONS". */
function mountPoints(text: string): string[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, point = '', options = ''] = before.split(' ');
    const isDisk = DISK_FILE_SYSTEMS.has(after.split(' ')[0] ?? '');
    return isDisk && root === '/' && options.split(',').includes('rw') ? [unescaped(point)] : [];
  });
}

/** Spaces and the like are written as three octal digits. */
function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(parseInt(digits, 8)));
}
