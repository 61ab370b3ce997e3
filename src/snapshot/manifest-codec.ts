// SPDX-License-Identifier: Apache-2.0
/**
 * Manifests as bytes, and back with every field checked: what is read from a store is not believed before.
 */
import * as z from 'zod';
import { ParsError } from '../errors.js';
import { diskList } from './disk-schema.js';
import { MANIFEST_FORMAT, type Manifest } from './manifest.js';
import { PAGE_CLASSES, type PageClass } from '../page-classes.js';
import { MAX_COPIES } from '../policy/policy.js';
import { isObjectName } from '../stores/names.js';
import { MAX_WHOLE_BYTES } from '../stores/store.js';
import { faultOfBlocks } from '../reader/mapped-blocks.js';

/** More than a snapshot of any guest has: 64 TiB in packs of 64 MiB. */
const MAX_OBJECTS = 1 << 20;
const MAX_BLOCKS = 1024;

const size = z.int().min(0);
const text = z.string().max(4096);
/** Of an object of the snapshot, directly below it. */
const objectName = text.refine(
  (name) => isObjectName(name) && !name.includes('/'),
  'not the name of an object',
);
const hex = (digits: number): z.ZodString => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`));
const coding = z.string().regex(/^[A-Za-z0-9-]{1,64}$/);
const copies = z.int().min(0).max(MAX_COPIES);

function perClass<T extends z.ZodType>(schema: T): z.ZodObject<Record<PageClass, T>> {
  return z.object(Object.fromEntries(PAGE_CLASSES.map((name) => [name, schema])) as Record<PageClass, T>);
}

const manifest = z.object({
  format: z.union([z.literal(1), z.literal(2), z.literal(3), z.literal(4)]),
  snapshot: text,
  storeId: text,
  sequence: size,
  created: text,
  token: hex(32),
  owner: z.object({ machineId: text, host: text }),
  domain: z.object({ uuid: text, name: text }),
  image: z.object({
    path: text,
    bytes: size,
    rawBytes: size.optional(),
    mappedBlocks: z
      .array(z.object({ bitmapOffset: size, pagesOffset: size, bytes: size }))
      .min(1)
      .max(MAX_BLOCKS)
      .optional(),
    format: text,
    wasRunning: z.boolean(),
    streamOffset: size,
    headEnd: size,
    headDigest: z.union([hex(64), z.literal('')]),
    managedSave: z.boolean(),
    memoryOf: text.optional(),
  }),
  guest: z.object({ introspected: z.boolean(), kernel: text.nullable(), reason: text.nullable() }),
  disks: diskList,
  policy: z.object({
    name: text,
    copies: perClass(copies),
    criticalCopies: copies,
    coding: coding.optional(),
  }),
  classes: perClass(z.object({ pages: size, payloadPages: size, storedBytes: size })),
  references: z.object({ pages: size, classes: perClass(size) }).optional(),
  index: z.object({ name: objectName, bytes: size, sha256: hex(64) }),
  objects: z
    .array(z.object({ name: objectName, bytes: size, xxh3: hex(32), copies, coding: coding.optional() }))
    .max(MAX_OBJECTS),
  storedBytes: size,
  revision: size.default(0),
  droppedPages: size.default(0),
});

/** A format that a later version of pars wrote. */
export class NewerFormatError extends ParsError {
  constructor(what: string, format: number) {
    super('refused', `${what} has format ${format}; this version of pars reads up to ${MANIFEST_FORMAT}`, {
      hint: 'update pars on this host',
    });
  }
}

export function encodeManifest(value: Manifest): Buffer {
  const data = Buffer.from(`${JSON.stringify(value, null, 1)}\n`);
  if (data.length <= MAX_WHOLE_BYTES) return data;
  throw new ParsError('refused', `the manifest of ${value.snapshot} has ${data.length} bytes, too many`);
}

/**
 * Throws 'refused' for a newer format, 'corrupt' for anything that is not a manifest. `snapshot`: the name it
 * must bear.
 */
export function decodeManifest(data: Buffer, snapshot: string): Manifest {
  const what = `the manifest of ${snapshot}`;
  const value = parseJson(data, what);
  const format = formatOf(value);
  if (format !== null && format > MANIFEST_FORMAT) throw new NewerFormatError(what, format);
  const result = manifest.safeParse(value);
  if (!result.success) throw new ParsError('corrupt', `${what} is damaged: ${describe(result.error)}`);
  const { bytes, mappedBlocks = [] } = result.data.image;
  const fault = faultOfBlocks(mappedBlocks, bytes);
  if (fault !== null) throw new ParsError('corrupt', `${what} is damaged: ${fault}`);
  if ((result.data.format === 4) !== (result.data.references !== undefined))
    throw new ParsError('corrupt', `${what} is damaged: its format does not agree with its references`);
  if (result.data.snapshot !== snapshot)
    throw new ParsError('corrupt', `${what} belongs to ${result.data.snapshot}`);
  return result.data;
}

function parseJson(data: Buffer, what: string): unknown {
  try {
    return JSON.parse(data.toString('utf8'));
  } catch (cause) {
    throw new ParsError('corrupt', `${what} is damaged: it is not JSON`, { cause });
  }
}

function formatOf(value: unknown): number | null {
  const format = typeof value === 'object' && value !== null ? (value as { format?: unknown }).format : null;
  return typeof format === 'number' ? format : null;
}

function describe(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue ? `${issue.path.join('.')}: ${issue.message}` : 'unknown reason';
}
