// SPDX-License-Identifier: Apache-2.0
/** The installed hook with stand-ins for Node and for the system's programs, run as libvirt runs it. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { encodeStub } from '../../src/image/stub.js';
import { domainXml, smallImage, UUID } from './image-builder.js';
import { shellWord } from '../../src/system/shell-word.js';

export const READER = resolve('build/Release/pars-reader');
export const XML =
  `<domain type='qemu' id='7'>\n  <name>g &lt;uuid&gt;</name>\n  <uuid>${UUID}</uuid>\n  `
  + `<memory>1</memory>\n${'  <x/>\n'.repeat(2000)}</domain>\n`;

export let root: string;
export let log: string;

/** Stand-ins for what the hook runs, for each test of the file that calls this. */
export function useHook(): void {
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'pars-hook-'));
    for (const name of ['saves', 'state', 'state/stubs', 'state/started', 'bin']) mkdirSync(join(root, name));
    log = join(root, 'log');
    standIn(
      'node',
      `printf '%s\\n' "$@" >>"$LOG"; [ -z "$NODE_SAYS" ] || echo "$NODE_SAYS" >&2; exit "\${NODE_EXIT:-0}"`,
    );
    standIn('logger', 'echo "$*" >>"$LOG.system"');
    standIn('setsid', 'exec "$@"');
    standIn('systemd-run', 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"');
  });
  // Of forty workers the last may still be ending.
  afterEach(() => rmSync(root, { recursive: true, force: true, maxRetries: 10 }));
}

export function standIn(name: string, body: string, mode = 0o755): void {
  rmSync(join(root, 'bin', name), { force: true });
  writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${body}\n`, { mode });
}

export function hook(reader = READER): string {
  const values: Record<string, string> = {
    NODE: join(root, 'bin/node'),
    PROGRAM: '/p/dist/cli.js',
    READER: reader,
    STATE: join(root, 'state'),
    SAVES: join(root, 'saves'),
  };
  const text = readFileSync('hooks/qemu', 'utf8').replace(/@([A-Z]+)@/g, (_, key: string) =>
    key === 'OPTIONS' ? "--store 'local:/a b'" : shellWord(values[key] ?? ''),
  );
  const path = join(root, 'hook');
  // A worker may run it just now.
  if (!existsSync(path) || readFileSync(path, 'utf8') !== text) writeFileSync(path, text, { mode: 0o755 });
  return path;
}

export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

export function run(
  name: string,
  operation: string,
  options: { input?: string; exit?: number; says?: string; reader?: string } = {},
): Run {
  const { input = XML, exit = 0, says = '', reader } = options;
  const env = {
    PATH: `${join(root, 'bin')}:/usr/bin:/bin`,
    LOG: log,
    NODE_EXIT: String(exit),
    NODE_SAYS: says,
  };
  const { status, stdout, stderr } = spawnSync(hook(reader), [name, ...operation.split(' '), '-'], {
    input,
    env,
    encoding: 'utf8',
  });
  return { code: status, stdout, stderr };
}

export function called(): string[] {
  return existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : [];
}

/** The worker in the background makes its files before that: afterwards they can be removed. */
export async function untilCalled(lines = 8): Promise<string[]> {
  for (let i = 0; i < 500 && called().length < lines; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return called();
}

export function smallStub(domainUuid = UUID): Buffer {
  const { bytes, headEnd } = smallImage({ xml: domainXml({ uuid: domainUuid }) });
  const record = {
    token: '1'.repeat(32),
    domainUuid,
    imageBytes: bytes.length,
    offset: headEnd,
    headDigest: '2'.repeat(64),
    snapshot: 's',
    storeUrl: 'u',
  };
  bytes.fill(0, headEnd);
  encodeStub(record).copy(bytes, headEnd);
  return bytes;
}

/** Runs the hook as the child of a shell that has `image` open, as libvirt's daemon has. */
export function runHolding(
  image: Buffer,
  reader = READER,
  operation = 'restore begin',
  says = '',
): number | null {
  const path = join(root, 'image.save');
  writeFileSync(path, image);
  return runUnder(`exec 7<${shellWord(path)}`, reader, operation, says);
}

/** Runs the hook as the child of a shell that did `before`. */
export function runUnder(before: string, reader: string, operation: string, says = ''): number | null {
  const env = { PATH: `${join(root, 'bin')}:/usr/bin:/bin`, LOG: log };
  const script = `${before}; ${shellWord(hook(reader))} guest ${operation} -; exit $?`;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', script], { env, input: XML, encoding: 'utf8' });
  expect({ stdout, stderr }).toEqual({ stdout: '', stderr: says });
  return status;
}
