import { ImageFile } from './image-file.js';
import { probeImage } from './reader.js';
import type { KnownStub, StubRegistry } from './stub-registry.js';
import { decodeStub } from './stub.js';

/** Of the stubs this host remembers, those that still are: not yet refilled, started or thrown away. */
export async function liveStubs(registry: StubRegistry): Promise<KnownStub[]> {
  const known = await registry.all();
  const alive = await Promise.all(known.map((stub) => isStub(stub)));
  return known.filter((_, i) => alive[i]);
}

/** A file that cannot be looked at counts as a stub only if it is there. */
async function isStub({ image, token }: KnownStub): Promise<boolean> {
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
