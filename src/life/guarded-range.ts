/** The bytes of an image where its stub record stands: they are written last, so that the file is a stub until then (R17). */
import type { ImageFile } from '../image/image-file.js';
import { MAX_STUB_BYTES, type StubRecord } from '../image/stub.js';
import { native } from '../native.js';
import type { Sink } from '../snapshot/assemble.js';

/** Writes into the image, but holds back what belongs where the record stands. */
export class GuardedRange implements Sink {
  readonly #image: ImageFile;
  readonly #fd: number;
  readonly #from: number;
  readonly #to: number;
  /** What stands there now, record and hole. */
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

  /** From `from`, where the record or its lead begins. `bytes`: length of the image that is to be; Infinity while it is not known. */
  static async around(image: ImageFile, from: number, record: StubRecord, bytes: number): Promise<GuardedRange> {
    const before = await image.read(from, Math.min(record.offset + MAX_STUB_BYTES, bytes) - from);
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

  /** What was held back, as far as the image of `bytes` bytes reaches. */
  async writeHeld(bytes: number): Promise<void> {
    await this.#image.write(this.#held.subarray(0, Math.max(0, bytes - this.#from)), this.#from);
  }

  /** After a failure: the record, a hole to the original length, and the room given back. As far as the disk lets us. */
  async backToStub(record: StubRecord): Promise<void> {
    try {
      await this.#image.write(this.#before, this.#from);
      await this.emptyBehind(record.imageBytes);
      await this.#image.sync();
    } catch {
      // Still a stub: it only takes more room than it should.
    }
  }
}
