// SPDX-License-Identifier: Apache-2.0
import { ParsError } from '../errors.js';
import { ImageFile } from './image-file.js';
import { probeImage } from '../reader/reader.js';
import { codeOf } from '../system/absence.js';
import type { KnownStub, StubRegistry } from './stub-registry.js';
import { decodeStub } from './stub.js';

/** Of the stubs this host remembers, those that still are: not yet refilled, started or thrown away. */
export async function liveStubs(registry: StubRegistry): Promise<KnownStub[]> {
  const known = await registry.all();
  const alive = await Promise.all(known.map((stub) => liveStub(registry, stub)));
  return known.filter((_, i) => alive[i]);
}

/** Whether any stub of this guest is left on this host. Records of stubs that are gone do not count. */
export async function hasLiveStub(registry: StubRegistry, domainUuid: string): Promise<boolean> {
  for (const stub of await registry.all())
    if (stub.domainUuid === domainUuid && (await liveStub(registry, stub))) return true;
  return false;
}

/**
 * Whether it still is one, or will be made one again, for a power cut has left it half changed. A file that
 * cannot be looked at counts as a stub only if it is there.
 */
export async function liveStub({ changes }: StubRegistry, { image, token }: KnownStub): Promise<boolean> {
  const file = await ImageFile.open(image).catch(unseen);
  if (file === 'none') return false;
  if (file === 'unseen') return true;
  try {
    const facts = await probeImage(file.fd);
    if (facts.stubRecord === null) return await changes.isHalf(file);
    return decodeStub(facts.stubRecord, facts.headEnd)?.token === token;
  } catch (error) {
    if (error instanceof ParsError || codeOf(error) !== undefined) return true;
    throw error;
  } finally {
    await file.close();
  }
}

/** Nothing at all, or nothing that ever was an image, is not a stub; what may not be opened may be one. */
function unseen(error: unknown): 'none' | 'unseen' {
  if (!(error instanceof ParsError)) throw error;
  return error.kind === 'missing' || error.kind === 'usage' ? 'none' : 'unseen';
}
