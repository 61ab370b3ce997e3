// SPDX-License-Identifier: Apache-2.0
import { ImageFile } from './image-file.js';
import { probeImage } from '../reader/reader.js';
import type { KnownStub, StubRegistry } from './stub-registry.js';
import { decodeStub } from './stub.js';

/** Of the stubs this host remembers, those that still are: not yet refilled, started or thrown away. */
export async function liveStubs(registry: StubRegistry): Promise<KnownStub[]> {
  const known = await registry.all();
  const alive = await Promise.all(known.map((stub) => liveStub(stub)));
  return known.filter((_, i) => alive[i]);
}

/** Whether it still is one. A file that cannot be looked at counts as a stub only if it is there. */
export async function liveStub({ image, token }: KnownStub): Promise<boolean> {
  const file = await ImageFile.open(image).catch(() => null);
  if (file === null) return false;
  try {
    const facts = await probeImage(file.fd);
    return facts.stubRecord !== null && decodeStub(facts.stubRecord, facts.headEnd)?.token === token;
  } catch {
    return true;
  } finally {
    await file.close();
  }
}
