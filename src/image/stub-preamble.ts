// SPDX-License-Identifier: Apache-2.0
/**
 * What stands before the record in the stub of a compressed image: a whole member of the compressor, which
 * unpacks to a line of text. With nothing to read QEMU would wait for ever, and libvirt with it; what is no
 * migration stream ends the start at once. Part of the format (docs/format.md), so these bytes never change.
 */
import { createHash } from 'node:crypto';
import { PREAMBLE_BYTES } from '../reader/save-header.js';
import type { CompressedFormat } from './save-format.js';

const MEMBERS: Record<CompressedFormat, string> = {
  gzip:
    'H4sIAAAAAAACAwvJyCxWAKKSjFSF4pLSJIX8NIXEPIXM3MT0VIXyjPziVIUCILNYIbEoVSEzD6ouH8gBKgxILCrW4wIA'
    + 'PRK7H0MAAAA=',
  bzip2:
    'QlpoOTFBWSZTWYulZJAAAAjTgAAQQAFEADPj3oAgAECVTyJtJkyemiFA00MjJiLU1mypZOpSVGbLyLbgZxyDRsjlxk5R'
    + 'FKTWbI9C8+wuVX8XckU4UJCLpWSQ',
  xz:
    '/Td6WFoAAAFpIt42AgAhAQwAAACPmEGc4ABCAD1dACoaCSdkHIePX7KuOy5hK/62bpgi7hi1gSmkO5uYv5dZSuMG2bc9'
    + 'C9HtZgOgdhjSfDouoXisHEmC2u7oAAAAAAAAPRK7HwABVUMQDJ8IkEKZDQEAAAAAAVla',
  lzop:
    'iUxaTwANChoKEEAgoAlAAQUDAAANAAAAAGsHMBoAAAAAACVDAiwAAABDAAAAQyJWFzFUaGlzIGlzIHRoZSBzdHViIG9m'
    + 'IGFuIGltYWdlIHdob3NlIHBhZ2VzIGFyZSBpbiB0aGUgc3RvcmUgb2YgUGFycy4KAAAAAA==',
  zstd: 'KLUv/QBozQEAwgMMELDrIORo4bKVqb6WLDh9IAYgnKFoUTVTKWuGvQ2u+uq82iDKJmxRJa69Pq3PPs8IAQBfmSoD',
};

/** The preamble of a format, padded with zeros. */
export function preambleOf(format: CompressedFormat): Buffer {
  const preamble = Buffer.alloc(PREAMBLE_BYTES);
  preamble.write(MEMBERS[format], 'base64');
  return preamble;
}

/** SHA-256 of the preamble, hex. */
export function preambleDigest(format: CompressedFormat): string {
  return createHash('sha256').update(preambleOf(format)).digest('hex');
}
