// SPDX-License-Identifier: Apache-2.0
/**
 * What the reader has told of images, so that one look at an unchanged file serves everybody who works on it
 * in this process: the queue that finds it, the offload that stores it, and the queue again.
 */
import type { ImageFacts } from '../reader/inspection.js';
import { probeImage, type ReaderOptions } from '../reader/reader.js';
import type { ImageFile, ImageIdentity } from './image-file.js';

/**
 * A file is written at most so long after the time that its change carries: file systems use coarse clocks.
 */
const CLOCK_TICK_NS = 100_000_000n;
/** Images a host keeps at the same time, and more. */
const MAX_KNOWN = 4096;

/** `nlink` is left out: another name of a file does not change what it holds. */
export type FileState = Pick<ImageIdentity, 'dev' | 'ino' | 'bytes' | 'mtimeNs' | 'ctimeNs'>;

export class ProbeMemory {
  readonly #facts = new Map<string, ImageFacts>();
  readonly #stubs = new Set<string>();

  /** As probeImage, but a file that has not changed since it was last looked at is not looked at again. */
  async probe(file: ImageFile, options: ReaderOptions = {}): Promise<ImageFacts> {
    const before = await file.identity();
    const known = this.#facts.get(keyOf(before));
    if (known !== undefined) return known;
    const facts = await probeImage(file.fd, options);
    if (isSettled(before) && keyOf(before) === keyOf(await file.identity())) this.#keep(keyOf(before), facts);
    return facts;
  }

  /** The file is a stub now. Only the queue is told, which passes it over. */
  async noteStub(file: ImageFile): Promise<void> {
    if (this.#stubs.size < MAX_KNOWN) this.#stubs.add(keyOf(await file.identity()));
  }

  isKnownStub(state: FileState): boolean {
    return this.#stubs.has(keyOf(state));
  }

  #keep(key: string, facts: ImageFacts): void {
    if (this.#facts.size < MAX_KNOWN) this.#facts.set(key, facts);
  }
}

function keyOf({ dev, ino, bytes, mtimeNs, ctimeNs }: FileState): string {
  return [dev, ino, bytes, mtimeNs, ctimeNs].join(':');
}

/** A file that was changed just now could be changed once more without its times telling. */
function isSettled({ ctimeNs }: FileState): boolean {
  return BigInt(Date.now()) * 1_000_000n - ctimeNs > CLOCK_TICK_NS;
}
