// SPDX-License-Identifier: Apache-2.0
/**
 * Offloads or hydrates one image and kills itself at a named step: what the program never does for anybody,
 * so a program of its own. Argument: the JSON of a KillRequest, or "init" and directories to make a store of.
 * Says "ready" when it begins and prints the result as JSON.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { ParsError } from '../../src/errors.js';
import { hydrate } from '../../src/lifecycle/hydrate.js';
import { ImageFile } from '../../src/image/image-file.js';
import { offload } from '../../src/lifecycle/offload.js';
import { customPolicy, policyByName, type PolicySpec } from '../../src/policy/policy.js';
import { initLocalStore } from '../../src/stores/local/init.js';
import { openStore } from '../../src/stores/open.js';
import { StubRegistry } from '../../src/image/stub-registry.js';

export interface KillRequest {
  work: 'offload' | 'hydrate';
  image: string;
  store: string;
  stateDir: string;
  policy: string | PolicySpec;
  /** The step to die at; null to go through. */
  killAt: string | null;
  /** What to do at a step instead of dying: a shell command run to its end. */
  atStep?: { step: string; run: string };
}

export interface KillResult {
  kind: string;
  message: string;
}

const [first = '', second = ''] = parseArgs({ allowPositionals: true }).positionals;
if (first === 'init') {
  await initLocalStore(second);
  process.exit(0);
}
const request = JSON.parse(first) as KillRequest;
const host = { machineId: '0'.repeat(32), host: 'test' };
const registry = new StubRegistry(request.stateDir);

function onStep(step: string): void {
  if (step === request.killAt) process.kill(process.pid, 'SIGKILL');
  if (step === request.atStep?.step) execFileSync('sh', ['-c', request.atStep.run], { stdio: 'inherit' });
}

async function offloadImage(): Promise<void> {
  await offload(
    request.image,
    { store: await openStore(request.store), host, registry },
    {
      policy:
        typeof request.policy === 'string' ? policyByName(request.policy) : customPolicy(request.policy),
      policyIsFixed: true,
      keepLocal: false,
      force: false,
      managedSave: true,
      diskReferences: true,
      leaseWaitMs: 1000,
      level: 1,
      onStep,
    },
  );
}

async function hydrateImage(): Promise<void> {
  const image = await ImageFile.open(request.image);
  try {
    await hydrate(
      image,
      { store: () => openStore(request.store), host, registry },
      { force: false, acceptChangedDisks: false, lockWaitMs: 1000, onStep },
    );
  } finally {
    await image.close();
  }
}

process.stdout.write('ready\n');
try {
  await (request.work === 'offload' ? offloadImage() : hydrateImage());
  process.stdout.write(`${JSON.stringify({ kind: 'done', message: '' })}\n`);
} catch (error) {
  const kind = error instanceof ParsError ? error.kind : 'internal';
  process.stdout.write(`${JSON.stringify({ kind, message: (error as Error).stack })}\n`);
}
