// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import {
  checkStub,
  decodeStub,
  encodeStub,
  MAX_STUB_BYTES,
  STUB_MAGIC,
  type StubRecord,
} from '../../src/image/stub.js';
import { sampleManifest } from '../support/manifests.js';

const manifest = sampleManifest();
const record: StubRecord = {
  token: manifest.token,
  domainUuid: manifest.domain.uuid,
  imageBytes: manifest.image.bytes,
  offset: manifest.image.headEnd,
  headDigest: manifest.image.headDigest,
  snapshot: manifest.snapshot,
  storeUrl: 'local:/srv/d1,/srv/d2,/srv/d3',
};
const file = {
  path: '/s/g.save',
  bytes: manifest.image.bytes,
  domainUuid: manifest.domain.uuid,
  headDigest: manifest.image.headDigest,
};

function kindOf(work: () => unknown): string {
  try {
    work();
    return 'nothing';
  } catch (error) {
    return error instanceof ParsError ? error.kind : 'another error';
  }
}

describe('a stub record (R16)', () => {
  it('comes back as it was written, from a buffer that goes on behind it', () => {
    const bytes = Buffer.concat([encodeStub(record), Buffer.alloc(500, 0xee)]);
    expect(decodeStub(bytes, record.offset)).toEqual(record);
  });

  it('begins with a word whose flags no QEMU accepts', () => {
    const word = encodeStub(record).readBigUInt64BE(0);
    expect(word & 0xfffn).toBe(0xc01n);
    expect(STUB_MAGIC.toString('latin1', 0, 7)).toBe('PARSST\\');
  });

  it('is not seen where there is none', () => {
    expect(decodeStub(Buffer.alloc(4096), 4 << 20)).toBeNull();
    expect(decodeStub(Buffer.alloc(3), 4 << 20)).toBeNull();
  });

  it('is damaged by any flipped bit', () => {
    const whole = encodeStub(record);
    for (let at = STUB_MAGIC.length; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 0x10;
      expect(
        kindOf(() => decodeStub(bytes, record.offset)),
        `byte ${at}`,
      ).toBe('corrupt');
    }
  });

  it('is damaged when cut short anywhere', () => {
    const whole = encodeStub(record);
    for (let length = STUB_MAGIC.length; length < whole.length; length++) {
      expect(
        kindOf(() => decodeStub(whole.subarray(0, length), record.offset)),
        `${length} bytes`,
      ).toBe('corrupt');
    }
  });

  it('is refused at another offset than its own: a copy that a guest wrote', () => {
    expect(kindOf(() => decodeStub(encodeStub(record), record.offset + 4104))).toBe('corrupt');
  });

  it('stays short, whatever the URL', () => {
    const long = encodeStub({ ...record, storeUrl: `local:${'/a'.repeat(5000)}` });
    expect(long.length).toBeLessThan(MAX_STUB_BYTES);
    expect(decodeStub(long, record.offset)?.snapshot).toBe(record.snapshot);
  });
});

describe('record, manifest and file (R16)', () => {
  it('agree', () => {
    expect(kindOf(() => checkStub(record, manifest, file, 1000))).toBe('nothing');
  });

  it('agree when a hydration had shortened the file', () => {
    expect(kindOf(() => checkStub(record, manifest, { ...file, bytes: 1000 }, 1000))).toBe('nothing');
  });

  const other = '9'.repeat(64);
  const liars: [string, StubRecord, typeof file][] = [
    ['a token', { ...record, token: '9'.repeat(32) }, file],
    ['a snapshot', { ...record, snapshot: `${record.snapshot}9` }, file],
    ['a domain', { ...record, domainUuid: '99999999-2222-3333-4444-555555555555' }, file],
    ['a length', { ...record, imageBytes: record.imageBytes + 1 }, file],
    ['an offset', { ...record, offset: record.offset + 8 }, file],
    ['a head digest', { ...record, headDigest: other }, file],
    ['the domain of the file', record, { ...file, domainUuid: '99999999-2222-3333-4444-555555555555' }],
    ['the head of the file', record, { ...file, headDigest: other }],
    ['the length of the file', record, { ...file, bytes: file.bytes - 1 }],
  ];
  it.each(liars)('disagree over %s', (_, lyingRecord, lyingFile) => {
    expect(kindOf(() => checkStub(lyingRecord, manifest, lyingFile, 1000))).toBe('refused');
  });
});
