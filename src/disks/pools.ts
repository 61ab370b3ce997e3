// SPDX-License-Identifier: Apache-2.0
/**
 * Where a volume of one of libvirt's storage pools is. libvirt itself is asked when it may be; a hook must
 * not ask it, for libvirt waits for the hook, and reads the pool's XML instead.
 */
import { DOMParser, type Element } from '@xmldom/xmldom';
import { join } from 'node:path';
import { readIfThere } from '../system/absence.js';
import type { Reason } from './blockdev.js';
import { runVirsh, type VirshFailure, virshSaid } from '../libvirt/virsh.js';

export interface Pool {
  /** "dir", "logical", "rbd", ... */
  type: string;
  /** Where its volumes are; null for those that are nowhere on this host. */
  path: string | null;
}

/** Of pools that run, and of those that are defined; the first that is there holds. */
export const POOL_DIRECTORIES = ['/run/libvirt/storage', '/etc/libvirt/storage'];
/** Pools whose volumes are entries of the target's directory, by name. */
const BY_NAME = new Set(['dir', 'fs', 'netfs', 'logical', 'disk', 'zfs', 'vstorage']);
const VIRSH_TIMEOUT_MS = 30_000;

/** Null when this host has no such pool. */
export async function poolOf(
  name: string,
  directories: readonly string[] = POOL_DIRECTORIES,
): Promise<Pool | null> {
  if (name === '' || name.includes('/') || name.startsWith('.')) return null;
  for (const directory of directories) {
    const text = await readIfThere(join(directory, `${name}.xml`));
    if (text !== null) return parsePool(text);
  }
  return null;
}

export interface PoolOptions {
  /** Never from a hook. */
  askLibvirt: boolean;
  /** Where libvirt keeps the XML of its pools. */
  poolDirectories?: readonly string[];
}

/** The path of a volume on this host. */
export async function volumePath(
  pool: string,
  volume: string,
  { askLibvirt, poolDirectories }: PoolOptions,
): Promise<string | Reason> {
  const why = askLibvirt ? await askForPath(pool, volume) : null;
  if (typeof why === 'string') return why;
  const found = await poolOf(pool, poolDirectories);
  if (found === null) return why ?? { reason: `this host has no storage pool ${pool}` };
  if (found.path !== null && BY_NAME.has(found.type) && !volume.includes('/'))
    return join(found.path, volume);
  return (
    why ?? {
      reason: `it is a volume of a pool of type ${found.type}, which has no path of its own on this host`,
    }
  );
}

async function askForPath(pool: string, volume: string): Promise<string | Reason> {
  try {
    const path = (
      await runVirsh(['vol-path', '--pool', pool, '--vol', volume], { timeoutMs: VIRSH_TIMEOUT_MS })
    ).trim();
    return path.startsWith('/')
      ? path
      : { reason: `libvirt says it is at ${JSON.stringify(path)}, which is not a path of this host` };
  } catch (cause) {
    return { reason: `libvirt does not say where it is: ${virshSaid(cause as VirshFailure)}` };
  }
}

function parsePool(xml: string): Pool {
  const root = new DOMParser({ onError: () => {} }).parseFromString(xml, 'text/xml').documentElement;
  const pool = root?.tagName === 'pool' ? root : root && child(root, 'pool');
  const target = pool && child(pool, 'target');
  const path = (target && child(target, 'path'))?.textContent?.trim() ?? '';
  const type = pool?.getAttribute('type') ?? '';
  // A pool of LVM need not say where its volumes are.
  const group =
    type === 'logical' && pool
      ? (child(child(pool, 'source') ?? pool, 'name')?.textContent?.trim() ?? '')
      : '';
  return { type, path: path.startsWith('/') ? path : group !== '' ? join('/dev', group) : null };
}

function child(parent: Element, name: string): Element | null {
  return (
    Array.from(parent.childNodes).find(
      (node): node is Element => node.nodeType === node.ELEMENT_NODE && (node as Element).tagName === name,
    ) ?? null
  );
}
