// SPDX-License-Identifier: Apache-2.0
/**
 * What a state object in the store says: which host brought a snapshot into that state, and when
 * (docs/format.md, "State objects").
 */
import * as z from 'zod';
import { parseJson } from '../system/json-text.js';
import type { Host } from '../system/host.js';
import type { Store } from '../stores/store.js';

const schema = z.object({
  machineId: z.string().regex(/^[0-9a-f]{32}$/),
  host: z.string().max(4096),
  token: z.string().regex(/^[0-9a-f]{32}$/),
  time: z.string().max(64),
});

export type StateRecord = z.infer<typeof schema>;

export function encodeStateRecord(host: Host, token: string): Buffer {
  const record: StateRecord = {
    machineId: host.machineId,
    host: host.host,
    token,
    time: new Date().toISOString(),
  };
  return Buffer.from(`${JSON.stringify(record)}\n`);
}

/**
 * Throws as the store's readWhole does: that a claim cannot be read does not permit ignoring it.
 * @param reader a host that asks whether it may: where hosts with different disks have each written a record,
 * another's counts for more than its own
 */
export async function readStateRecord(
  store: Store,
  object: string,
  reader?: Pick<Host, 'machineId'>,
): Promise<StateRecord> {
  const data = await store.readWhole(
    object,
    (copy) => parse(copy) !== null,
    (copy) => (reader && parse(copy)?.machineId !== reader.machineId ? 1 : 0),
  );
  return parse(data) as StateRecord;
}

/**
 * Records of two hosts, where hosts with different disks have each written one; null when all copies that
 * make sense name the same host. Throws as the store's readWhole does.
 */
export async function differingRecords(
  store: Store,
  object: string,
): Promise<[StateRecord, StateRecord] | null> {
  const one = await readStateRecord(store, object);
  const other = await readStateRecord(store, object, one);
  return other.machineId === one.machineId ? null : [one, other];
}

/** Whether these are the bytes of a record, not what a disk has made of them. */
export function isStateRecord(data: Buffer): boolean {
  return parse(data) !== null;
}

function parse(data: Buffer): StateRecord | null {
  return schema.safeParse(parseJson(data.toString())).data ?? null;
}
