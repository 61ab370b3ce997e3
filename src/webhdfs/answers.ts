// SPDX-License-Identifier: Apache-2.0
/**
 * The answers' shapes, checked: what does not have the shape is a `protocol` error, not an undefined
 * somewhere later.
 */
import * as z from 'zod';
import { WebHdfsError } from './errors.js';

const size = z.int().min(0);
/** A name of one file, as long as a NameNode may allow it; an address. */
const name = z.string().max(8192);
const MAX_LOCATIONS = 1024;

const fileStatus = z.object({
  /** Empty in GETFILESTATUS. */
  pathSuffix: name,
  type: z.enum(['FILE', 'DIRECTORY', 'SYMLINK']),
  /** Bytes; 0 of a directory. */
  length: size,
  /** Octal, as HDFS writes it: 600. */
  permission: z.string(),
  owner: z.string(),
  group: z.string(),
  /** Copies; 0 of a directory, 1 of an erasure-coded file. */
  replication: size,
  blockSize: size,
  /** Milliseconds since 1970, of the NameNode's clock. */
  modificationTime: z.number(),
  accessTime: z.number(),
  fileId: z.number().optional(),
  ecPolicy: z.string().optional(),
  /** In an encryption zone: what DataNodes keep, and the checksums they know, are of encrypted bytes. */
  encBit: z.boolean().optional(),
});
export type FileStatus = z.infer<typeof fileStatus>;

const blockLocation = z.object({
  offset: size,
  length: size,
  corrupt: z.boolean(),
  /** Host names (or addresses) of DataNodes with a copy; empty when none that is alive has one. */
  hosts: z.array(name).max(MAX_LOCATIONS),
  /** The same as IP:PORT of data transfer: what `excludedatanodes` takes. */
  names: z.array(name).max(MAX_LOCATIONS),
  /** The same as /RACK/IP:PORT, where the NameNode tells it; nothing is read or written by it. */
  topologyPaths: z.array(name).max(MAX_LOCATIONS).optional().catch(undefined),
});
export type BlockLocation = z.infer<typeof blockLocation>;

const contentSummary = z.object({
  /** Bytes, once. */
  length: size,
  /** Bytes over all copies, or with parity. */
  spaceConsumed: size,
  fileCount: size,
  directoryCount: size,
  /** -1: none. */
  quota: z.number(),
  spaceQuota: z.number(),
});
export type ContentSummary = z.infer<typeof contentSummary>;

const fileChecksum = z.object({
  algorithm: z.string(),
  bytes: z.string().regex(/^([0-9a-f]{2})*$/),
  length: z.number(),
});
export type FileChecksum = z.infer<typeof fileChecksum>;

export const ANSWERS = {
  boolean: z.object({ boolean: z.boolean() }).transform(({ boolean }) => boolean),
  fileStatus: z.object({ FileStatus: fileStatus }).transform(({ FileStatus }) => FileStatus),
  listing: z
    .object({
      DirectoryListing: z.object({
        partialListing: z.object({ FileStatuses: z.object({ FileStatus: z.array(fileStatus) }) }),
        remainingEntries: z.number(),
      }),
    })
    .transform(({ DirectoryListing: { partialListing, remainingEntries } }) => ({
      entries: partialListing.FileStatuses.FileStatus,
      remainingEntries,
    })),
  contentSummary: z
    .object({ ContentSummary: contentSummary })
    .transform(({ ContentSummary }) => ContentSummary),
  checksum: z.object({ FileChecksum: fileChecksum }).transform(({ FileChecksum }) => FileChecksum),
  locations: z
    .object({ BlockLocations: z.object({ BlockLocation: z.array(blockLocation) }) })
    .transform(({ BlockLocations }) => BlockLocations.BlockLocation),
  location: z.object({ Location: z.string() }).transform(({ Location }) => Location),
};

export function parseAnswer<T>(schema: z.ZodType<T>, what: string, body: string): T {
  try {
    return schema.parse(JSON.parse(body));
  } catch (cause) {
    throw new WebHdfsError('protocol', `${what}: not the answer of a WebHDFS`, { cause });
  }
}
