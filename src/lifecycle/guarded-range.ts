// SPDX-License-Identifier: Apache-2.0
/**
 * The bytes of an image where its stub record stands: they are written last, so that the file is a stub until
 * then (R17).
 */
import { tellSystem } from '../system/system-log.js';
import { bestEffort } from '../system/best-effort.js';
import type { ImageFile } from '../image/image-file.js';
import type { RecordChanges } from '../image/record-change.js';
import { encodeStub, type StubRecord } from '../image/stub.js';
import { native } from '../native.js';
import type { Sink } from '../snapshot/assemble.js';

/** Writes into the image, but holds back what belongs where the record stands. */
export class GuardedRange implements Sink {
  readonly #image: ImageFile;
  readonly #fd: number;
  readonly #from: number;
  readonly #to: number;
  /** What stands there now. */
  readonly #before: Buffer;
  readonly #held: Buffer;

  private constructor(image: ImageFile, fd: number, from: number, before: Buffer) {
    this.#image = image;
    this.#fd = fd;
    this.#from = from;
    this.#to = from + before.length;
    this.#before = before;
    this.#held = Buffer.alloc(before.length);
  }

  /**
   * From `from`, where the record or its preamble begins. `bytes`: length of the image that is to be;
   * Infinity while it is not known.
   */
  static async around(
    image: ImageFile,
    from: number,
    record: StubRecord,
    bytes: number,
  ): Promise<GuardedRange> {
    const before = await image.read(from, Math.min(record.offset + encodeStub(record).length, bytes) - from);
    return new GuardedRange(image, await image.writable(), from, before);
  }

  async write(data: Buffer, offset: number): Promise<void> {
    const skip = Math.min(data.length, Math.max(0, this.#to - offset));
    if (skip > 0) data.copy(this.#held, offset - this.#from, 0, skip);
    if (skip === data.length) return;
    await this.#image.write(data.subarray(skip), offset + skip);
    native().startWriteback(this.#fd, offset + skip, data.length - skip);
  }

  /** Makes everything behind it a hole, up to `bytes`. */
  async emptyBehind(bytes: number): Promise<void> {
    await this.#image.truncate(bytes);
    if (bytes > this.#to) await native().punchHole(this.#fd, this.#to, bytes - this.#to);
  }

  /**
   * What was held back, as far as the image of `bytes` bytes reaches, durably. A guest must be able to resume
   * where nothing can be noted: then it is written all the same, and only a power cut in this very moment
   * would leave what nobody repairs.
   */
  async writeHeld(bytes: number, changes: RecordChanges): Promise<void> {
    const length = Math.min(this.#held.length, Math.max(0, bytes - this.#from));
    const [stub, image] = [this.#before, this.#held].map((side) => side.subarray(0, length)) as [
      Buffer,
      Buffer,
    ];
    const forget = await changes
      .note(this.#image, { offset: this.#from, stub, image })
      .catch((error: unknown) => unnoted(this.#image.path, error));
    await this.#image.write(image, this.#from);
    await this.#image.sync();
    await forget();
  }

  /**
   * After a failure: the record, a hole to the original length, and the room given back. As far as the disk
   * lets us.
   */
  async backToStub(record: StubRecord): Promise<void> {
    // If this fails it is still a stub: it only takes more room than it should.
    await bestEffort(this.#putBack(record));
  }

  async #putBack(record: StubRecord): Promise<void> {
    await this.#image.write(this.#before, this.#from);
    await this.emptyBehind(record.imageBytes);
    await this.#image.sync();
  }
}

/** The guest resumes all the same; the system's log hears of it. */
async function unnoted(path: string, error: unknown): Promise<() => Promise<void>> {
  const why = error instanceof Error ? error.message : String(error);
  await bestEffort(tellSystem('warning', `the last write to ${path} could not be noted beforehand: ${why}`));
  return async () => {};
}
