// SPDX-License-Identifier: Apache-2.0
/** The YAML of the configuration file: its shape, and errors that name file, line, column and key. */
import {
  type Alias,
  type Document,
  isMap,
  isNode,
  isScalar,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import en from 'zod/v4/locales/en.js';
import * as z from 'zod/mini';
import { ParsError } from '../errors.js';
import { PAGE_CLASSES, type PageClass } from '../page-classes.js';
import { nearest } from '../system/nearest.js';
import { isCoding, MAX_COPIES, PRESETS } from './policy.js';

// The small interface of zod: the large one takes a third of the time in which "pars status" starts. It knows
// no language by itself, and is told not to compile checks that are made once.
z.config({ ...en(), jitless: true });

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

const DURATION = 'expected a duration like "60s", "10m" or "1h"';

const duration = z.pipe(
  z.string({ error: DURATION }).check(z.regex(/^\d{1,6}[smhd]$/, { error: DURATION })),
  z.transform((text) => Number(text.slice(0, -1)) * (UNIT_MS[text.slice(-1)] ?? NaN)),
);

/** "90s" or "5m" in milliseconds; null for anything else. */
export function parseDuration(text: string): number | null {
  const result = duration.safeParse(text);
  return result.success ? result.data : null;
}

const SIZE = 'expected a size like "500M", "20G" or "1T" (binary units)';
const UNIT_BYTES: Record<string, number> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

const size = z.pipe(
  z.string({ error: SIZE }).check(z.regex(/^\d{1,6}[KMGT]$/, { error: SIZE })),
  z.transform((text) => Number(text.slice(0, -1)) * (UNIT_BYTES[text.slice(-1)] ?? NaN)),
);

const FLOOR = 'expected a size like "50G" or a share like "10%"';

/** So much free room, or such a share of the file system. */
const floor = z.pipe(
  z.string({ error: FLOOR }).check(z.regex(/^(\d{1,6}[KMGT]|[1-9]?\d%)$/, { error: FLOOR })),
  z.transform((text) =>
    text.endsWith('%') ? { share: Number(text.slice(0, -1)) / 100 } : { bytes: size.parse(text) },
  ),
);

const count = z
  .int({ error: 'expected a number of copies' })
  .check(z.minimum(0), z.maximum(MAX_COPIES, { error: `expected at most ${MAX_COPIES} copies` }));

const presetName = z.enum(PRESETS, { error: `expected one of ${PRESETS.join(', ')}` });
const yesNo = z.boolean({ error: 'expected true or false' });
const wholeNumberOf = (what: string): z.ZodMiniNumberFormat =>
  z.int({ error: `expected a number of ${what}` }).check(z.minimum(1, { error: 'expected at least 1' }));
const absolutePath = z.string().check(z.startsWith('/', { error: 'expected an absolute path' }));

const classCopies = z.strictObject(
  Object.fromEntries(PAGE_CLASSES.map((name) => [name, z.optional(count)])) as Record<
    PageClass,
    z.ZodMiniOptional<typeof count>
  >,
);

const CODING = 'expected an erasure coding like rs-3-2';

const customPolicy = z.strictObject({
  base: z.optional(presetName),
  classes: z.optional(classCopies),
  critical: z.optional(z.string({ error: CODING }).check(z.refine(isCoding, { error: CODING }))),
  force: z.optional(yesNo),
});

/**
 * A name and a map are checked apart, so that an error is about what was written and not about every
 * alternative.
 */
const policy = z.pipe(
  z.unknown(),
  z.transform((value, context): z.infer<typeof customPolicy> | z.infer<typeof presetName> => {
    const result = typeof value === 'string' ? presetName.safeParse(value) : customPolicy.safeParse(value);
    if (result.success) return result.data;
    for (const { message, path, ...issue } of result.error.issues) {
      context.issues.push({
        code: 'custom',
        input: value,
        message: problem({ ...issue, message, path }),
        path: pathOf({ ...issue, path }),
      });
    }
    return z.NEVER;
  }),
);

const WATCHABLE = 'expected a directory like /srv/saves or /srv/*/saves';

/** An absolute path, in which * and ? stand for parts of a name. */
const watchable = z
  .string({ error: WATCHABLE })
  .check(
    z.refine((path) => path.startsWith('/') && !path.split('/').includes('..') && !path.includes('**'), {
      error: WATCHABLE,
    }),
  );

type Optional<T extends Shape> = { [key in keyof T]: z.ZodMiniOptional<T[key]> };
type Shape = Record<string, z.ZodMiniType>;

/** A map whose keys may all be left out. */
function map<T extends Shape>(shape: T): z.ZodMiniObject<Optional<T>, z.core.$strict> {
  const optional = Object.fromEntries(Object.entries(shape).map(([key, type]) => [key, z.optional(type)]));
  return z.strictObject(optional as Optional<T>);
}

const file = map({
  store: z.string({ error: 'expected a URL like local:/srv/d1,/srv/d2,/srv/d3' }),
  policy,
  disk_references: z.enum(['auto', 'off'], { error: 'expected auto or off' }),
  hook: map({ deadline: duration, wait_for_store: duration }),
  disks: map({ accept_uncompared: yesNo }),
  retention: map({
    automatic: yesNo,
    keep_last: wholeNumberOf('snapshots'),
    max_age: duration,
    consumed: duration,
    orphan_grace: duration,
  }),
  queue: map({
    concurrency: wholeNumberOf('offloads').check(z.maximum(16, { error: 'expected at most 16' })),
    bandwidth: size,
    free_space_floor: floor,
    settle: duration,
    overdue: duration,
  }),
  wake: map({ bandwidth: size, settle: duration }),
  checkpoints: map({ directory: absolutePath, keep_last: wholeNumberOf('checkpoints'), max_age: duration }),
  watch: z.array(watchable, { error: 'expected a list of directories' }),
  metrics: map({
    file: absolutePath.check(z.endsWith('.prom', { error: 'expected a name that ends with .prom' })),
  }),
  state_dir: absolutePath,
});

export type ConfigFileValues = z.infer<typeof file>;

export interface ConfigFile {
  values: ConfigFileValues;
  /** "FILE:LINE:COLUMN: key" of a path, for errors found later. */
  at(path: string[]): string;
}

/** Parses and checks the text of a configuration file. */
export function parseConfigFile(text: string, name: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const syntax = document.errors[0];
  if (syntax)
    throw invalid([`${place(name, lines, syntax.pos[0])}: ${syntax.message.split(/ at line |:\n/)[0]}`]);
  const at = (path: PropertyKey[]): string => {
    const where = place(name, lines, offsetOf(document, path));
    return path.length === 0 ? where : `${where}: ${path.join('.')}`;
  };
  const result = file.safeParse(contentsOf(document, name, lines) ?? {});
  if (!result.success)
    throw invalid(
      result.error.issues.map((issue) => `${at(pathOf(issue))}: ${problem(issue)}`),
      hintFor(result.error.issues.map(pathOf)),
    );
  return { values: result.data, at };
}

/**
 * What the text says, with its aliases put in: one may be of nothing, and a few may be of more than fits into
 * memory.
 */
function contentsOf(document: Document, name: string, lines: LineCounter): unknown {
  try {
    return document.toJS();
  } catch (error) {
    const aliases: Alias[] = [];
    visit(document, { Alias: (_, alias) => void aliases.push(alias) });
    const culprit = aliases.find((alias) => alias.resolve(document) === undefined) ?? aliases[0];
    throw invalid([`${place(name, lines, culprit ? startOf(culprit) : 0)}: ${(error as Error).message}`]);
  }
}

interface Issue {
  code: string;
  message: string;
  path: PropertyKey[];
  keys?: string[];
}

/** An unknown key is pointed at itself, not at the map it stands in. */
function pathOf(issue: Omit<Issue, 'message'>): PropertyKey[] {
  return issue.code === 'unrecognized_keys'
    ? [...issue.path, ...(issue.keys?.slice(0, 1) ?? [])]
    : issue.path;
}

function problem(issue: Issue): string {
  if (issue.code !== 'unrecognized_keys') return issue.message.replace(/^Invalid input: /, '');
  const others = issue.keys?.slice(1) ?? [];
  return others.length === 0 ? 'unknown key' : `unknown key (so are: ${others.join(', ')})`;
}

/** Where the key of `path` stands, or the deepest part of it that exists. */
function offsetOf(document: Document, path: PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? startOf(node) : 0;
  for (const key of path) {
    const pair = isMap(node)
      ? node.items.find((item) => isScalar(item.key) && item.key.value === key)
      : undefined;
    if (!pair) break;
    if (isNode(pair.key)) offset = startOf(pair.key);
    node = pair.value;
  }
  return offset;
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function place(name: string, lines: LineCounter, offset: number): string {
  const { line, col } = lines.linePos(offset);
  return `${name}:${Math.max(line, 1)}:${Math.max(col, 1)}`;
}

/** For the first key that is not known: the one that was meant, else those that may stand there. */
function hintFor(paths: readonly PropertyKey[][]): string | undefined {
  for (const path of paths) {
    const above = path.slice(0, -1).map(String);
    const known = keysBelow(above);
    const key = String(path.at(-1));
    if (known === null || path.length === 0 || known.includes(key)) continue;
    const meant = nearest(key, known);
    const elsewhere = keysBelow([])?.find((one) => keysBelow([one])?.includes(key));
    if (meant !== null) return `did you mean ${[...above, meant].join('.')}?`;
    if (elsewhere !== undefined) return `did you mean ${elsewhere}.${key}?`;
    return `keys ${above.length === 0 ? 'of the file' : `of ${above.join('.')}`}: ${known.join(', ')}`;
  }
  return undefined;
}

/** The keys of the map at `path`; null where no map stands. */
export function keysBelow(path: readonly string[]): string[] | null {
  let here: unknown = file;
  for (const key of path) {
    if (!(here instanceof z.ZodMiniObject)) return null;
    const value: unknown = key === 'policy' ? customPolicy : (here.shape as Record<string, unknown>)[key];
    here = value instanceof z.ZodMiniOptional ? value.def.innerType : value;
  }
  return here instanceof z.ZodMiniObject ? Object.keys(here.shape) : null;
}

function invalid(problems: string[], hint?: string): ParsError {
  return new ParsError('usage', problems.join('\n'), hint === undefined ? {} : { hint });
}
