// SPDX-License-Identifier: Apache-2.0
/** The disks in a manifest (docs/format.md), every field checked. */
import * as z from 'zod';
import { MAX_MARKS } from '../disks/fingerprint.js';

const MAX_DISKS = 4096;
const MAX_BELOW = 1024;
const MAX_HOSTS = 64;

const size = z.int().min(0);
const text = z.string().max(4096);

const fingerprint = z.object({
  bytes: size,
  marks: z
    .array(z.object({ what: text, at: size, sha256: z.string().regex(/^[0-9a-f]{32}$/) }))
    .max(MAX_MARKS),
});

const file = {
  source: text,
  bytes: size.nullable(),
  mtimeNs: text.nullable(),
  identity: text.nullable(),
  fingerprint: fingerprint.optional(),
  written: z.object({ boot: text, diskseq: text, sectors: size }).optional(),
};

const network = z.object({
  protocol: text,
  name: text,
  hosts: z.array(z.object({ transport: text, name: text, port: text, socket: text })).max(MAX_HOSTS),
  tls: z.boolean(),
  user: text,
  secret: z.boolean(),
  config: text,
  snapshot: text,
  query: text,
});

const disk = z.object({
  ...file,
  target: text,
  readOnly: z.boolean(),
  below: z.array(z.object(file)).max(MAX_BELOW).optional(),
  type: text.optional(),
  device: text.optional(),
  format: text.optional(),
  pool: z.object({ name: text, volume: text, path: text.nullable() }).optional(),
  network: network.optional(),
  contents: fingerprint.optional(),
  uncompared: text.optional(),
});

export const diskList = z.array(disk).max(MAX_DISKS);
