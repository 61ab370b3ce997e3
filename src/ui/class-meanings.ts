// SPDX-License-Identifier: Apache-2.0
/** Each page class in a line, for reports. */
import type { PageClass } from '../page-classes.js';

export const CLASS_MEANINGS: Record<PageClass, string> = {
  kernel: "the kernel's code and data, and whatever is not proven to be anything else",
  free: 'in no use: blocks of the buddy allocator',
  'clean-cache': 'file cache that no process maps, proven to be readable from a disk again',
  'mapped-cache': 'file cache that processes map: programs, libraries',
  'dirty-cache': 'file cache that is newer than the disk',
  'other-cache': 'file cache that is clean, but not proven to be readable again',
  anon: 'memory of processes',
  shmem: 'shared memory and tmpfs',
  slab: "the kernel's own objects",
  'page-table': 'page tables',
  offline: 'taken out of use, or held by a balloon',
  device: 'memory of virtual devices, such as the screen',
};

export const REST_MEANING = 'no pages: the first 4 MiB, which a stub keeps as they are, records and devices';
