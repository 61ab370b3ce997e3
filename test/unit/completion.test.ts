// SPDX-License-Identifier: Apache-2.0
/**
 * What the shells offer: commands, options, policies, guests and snapshots, and files only where they belong.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bashCompletion, zshCompletion } from '../../src/program/completion.js';

const BASH = `. "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pars; printf '%s\\n' "\${COMPREPLY[@]}"`;
/** zsh's own functions for completion work at a prompt only: these say what they were asked for. */
const ZSH = `
compadd() { shift; print -l -- "$@"; }
_files() { print -l -- FILES; }
words=("$@"); CURRENT=$#; PREFIX=$words[-1]
. "$0"
`;
const hasZsh = spawnSync('zsh', ['--version']).status === 0;
let root: string;

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'pars-completion-'));
  writeFileSync(join(root, 'bash'), await bashCompletion());
  writeFileSync(join(root, 'zsh'), await zshCompletion());
  writeFileSync(join(root, 'a file'), '');
  mkdirSync(join(root, 'bin'));
  const tool = (name: string, text: string): void => {
    writeFileSync(join(root, 'bin', name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(root, 'bin', name), 0o755);
  };
  tool('virsh', 'printf "web\\ndb\\n\\n"');
  tool(
    'pars',
    `[ "$*" = "list --json --config F" ] && echo '{"snapshots":[{"snapshot":"8f14/20261130T07"}]}'`,
  );
});
afterAll(() => rmSync(root, { recursive: true }));

function offers(shell: 'bash' | 'zsh', ...line: string[]): string[] {
  const code = shell === 'bash' ? ['-c', BASH] : ['-f', '-c', ZSH];
  const env = { ...process.env, PATH: `${join(root, 'bin')}:${process.env['PATH']}` };
  const out = execFileSync(shell, [...code, join(root, shell), 'pars', ...line], {
    cwd: root,
    env,
    encoding: 'utf8',
  });
  return out.split('\n').filter((word) => word !== '');
}

describe.each(hasZsh ? (['bash', 'zsh'] as const) : (['bash'] as const))('the completion for %s', (shell) => {
  it.each([
    [[''], ['report', 'store', 'help', '--version']],
    [
      ['store', ''],
      ['init', 'status'],
    ],
    [['help', ''], ['report']],
    [
      ['offload', '--'],
      ['--keep-local', '--pending'],
    ],
    [['store', 'init', '--'], ['--allow-same-device']],
    [
      ['offload', '--policy', ''],
      ['lean', 'minimal', 'pars', 'replicate-all'],
    ],
    [['--policy', ''], ['lean']],
    [
      ['--config', 'F', 'managedsave', ''],
      ['web', 'db'],
    ],
    [
      ['report', '--domain', ''],
      ['web', 'db'],
    ],
    [['--config', 'F', 'restore', ''], ['8f14/20261130T07']],
    [['verify', '--disks', '--config', 'F', ''], ['8f14/20261130T07']],
    [['status', ''], ['--json']],
  ])('after %j: %j', (line, wanted) => {
    const found = offers(shell, ...line);
    expect(found).toEqual(expect.arrayContaining(wanted));
    expect(found).not.toContain('a file');
    expect(found).not.toContain('FILES');
  });

  it('offers files where an image is named', () => {
    for (const line of [
      ['hydrate', ''],
      ['save', 'web', ''],
      ['restore', '--to', ''],
    ])
      expect(offers(shell, ...line)).toContain(shell === 'bash' ? 'a file' : 'FILES');
  });
});
