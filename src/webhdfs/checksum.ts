/**
 * The checksum that GETFILECHECKSUM answers for a replicated file, computed from the data on its way out:
 * the MD5 of the blocks' MD5s, each over the big-endian CRC32Cs of every 512 bytes of its block.
 * Not the one of an erasure-coded file, nor the COMPOSITE_CRC that HttpFS can be set to.
 */
import { createHash, type Hash } from 'node:crypto';
import { crc32c } from '@node-rs/crc32';
import type { FileChecksum } from './answers.js';

/** dfs.bytes-per-checksum, as good as everywhere. */
const CHUNK = 512;
/** CRCs are handed to MD5 in batches: of 2 MiB of data. */
const BATCH = 4 * 4096;

export class ChecksumOnTheWay {
  readonly #blockSize: number;
  readonly #blocks: Buffer[] = [];
  readonly #crcs = Buffer.alloc(BATCH);
  #crcsFilled = 0;
  #md5: Hash = createHash('md5');
  #crc = 0;
  /** Bytes of the chunk and of the block begun. */
  #inChunk = 0;
  #inBlock = 0;

  constructor(blockSize: number) {
    if (!Number.isSafeInteger(blockSize) || blockSize <= 0 || blockSize % CHUNK !== 0) throw new RangeError(`not a block size: ${blockSize}`);
    this.#blockSize = blockSize;
  }

  update(data: Uint8Array): void {
    for (let at = 0; at < data.length; ) {
      const end = Math.min(data.length, at + CHUNK - this.#inChunk);
      this.#crc = crc32c(data.subarray(at, end) as Buffer, this.#crc);
      this.#inChunk += end - at;
      this.#inBlock += end - at;
      at = end;
      if (this.#inChunk === CHUNK) this.#endChunk();
      if (this.#inBlock === this.#blockSize) this.#endBlock();
    }
  }

  /** Hex. Ends the computation. */
  digest(): string {
    if (this.#inChunk > 0) this.#endChunk();
    if (this.#inBlock > 0) this.#endBlock();
    // Hadoop hashes its whole growing buffer, not only what is in it: 32 bytes, doubled as often as need be, zero to the end.
    let padded = 32;
    while (padded < this.#blocks.length * 16) padded *= 2;
    const all = Buffer.alloc(padded);
    this.#blocks.forEach((block, index) => block.copy(all, index * 16));
    return createHash('md5').update(all).digest('hex');
  }

  #endChunk(): void {
    this.#crcs.writeUInt32BE(this.#crc, this.#crcsFilled);
    this.#crcsFilled += 4;
    this.#crc = 0;
    this.#inChunk = 0;
    if (this.#crcsFilled === BATCH) this.#flush();
  }

  #flush(): void {
    this.#md5.update(this.#crcs.subarray(0, this.#crcsFilled));
    this.#crcsFilled = 0;
  }

  #endBlock(): void {
    this.#flush();
    this.#blocks.push(this.#md5.digest());
    this.#md5 = createHash('md5');
    this.#inBlock = 0;
  }
}

/** Undefined: the cluster's checksum is of another kind, so the file has to be read back. */
export function sameChecksum(own: string, theirs: FileChecksum): boolean | undefined {
  // An empty file has no chunks: 0CRC32.
  if (!/^MD5-of-\d+MD5-of-(512CRC32C|0CRC32C?)$/.test(theirs.algorithm)) return undefined;
  // Bytes a CRC (4), CRCs a block (8), MD5 (16).
  return theirs.bytes.slice(24, 56) === own;
}
