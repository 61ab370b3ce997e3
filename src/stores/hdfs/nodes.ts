// SPDX-License-Identifier: Apache-2.0
/** How many DataNodes a cluster has, and how much room: what the NameNode shows of itself beside WebHDFS. */
import * as z from 'zod';
import { WebHdfsError } from '../../webhdfs/index.js';
import type { HdfsFiles } from './files.js';

export interface Nodes {
  live: number;
  dead: number;
  freeBytes: number;
}

const answer = z.object({
  beans: z
    .array(
      z.object({
        NumLiveDataNodes: z.number(),
        NumDeadDataNodes: z.number(),
        NumDecomLiveDataNodes: z.number().default(0),
        NumInMaintenanceLiveDataNodes: z.number().default(0),
        CapacityRemaining: z.number(),
      }),
    )
    .max(1),
});

const BEAN = '/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState';
const PATIENCE_MS = 10_000;

/**
 * The NameNode that is active knows best: one that has just come back has not heard of all yet. Null when no
 * NameNode says: a gateway has no such page, and a cluster may keep it from us. Whoever writes then sees by
 * the blocks' places.
 */
export async function countNodes({ client, signal }: HdfsFiles): Promise<Nodes | null> {
  for (const nameNode of client.nameNodes.inTurn) {
    try {
      const exchange = {
        what: 'JMX FSNamesystemState',
        method: 'GET',
        url: new URL(BEAN, nameNode),
        dataNode: false,
      } as const;
      const { body } = await client.transport.whole(exchange, PATIENCE_MS, signal);
      const [state] = answer.parse(JSON.parse(body)).beans;
      if (state === undefined) continue;
      const live = state.NumLiveDataNodes - state.NumDecomLiveDataNodes - state.NumInMaintenanceLiveDataNodes;
      return { live, dead: state.NumDeadDataNodes, freeBytes: state.CapacityRemaining };
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof WebHdfsError || error instanceof SyntaxError || error instanceof z.ZodError))
        throw error;
    }
  }
  return null;
}
