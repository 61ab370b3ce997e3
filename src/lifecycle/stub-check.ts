// SPDX-License-Identifier: Apache-2.0
/**
 * From the bytes of a stub record to the snapshot it stands for: nothing is believed before record, file and
 * manifest agree (R16).
 */
import { ParsError } from '../errors.js';
import type { ImageFile } from '../image/image-file.js';
import type { ImageFacts } from '../reader/inspection.js';
import type { Manifest } from '../snapshot/manifest.js';
import { SnapshotSource } from '../snapshot/snapshot-source.js';
import type { Store } from '../stores/store.js';
import { checkStub, decodeStub, type StubRecord } from '../image/stub.js';
import { hydratedBytes } from './refill.js';

/** The record of an image known to be a stub; throws 'corrupt' when it is damaged. */
export function openStub(facts: ImageFacts, path: string): StubRecord {
  const record = facts.stubRecord && decodeStub(facts.stubRecord, facts.headEnd);
  if (record) return record;
  throw new ParsError('internal', `${path} is not a stub`);
}

/**
 * The snapshot of a stub, after record, manifest and file were found to agree. The head's digest is taken
 * from the file itself.
 */
export async function agreeWithStub(
  store: Store,
  image: ImageFile,
  facts: ImageFacts,
  record: StubRecord,
  manifest: Manifest,
): Promise<SnapshotSource> {
  const source = await SnapshotSource.open(store, manifest);
  const headDigest = await image.digest(facts.streamOffset, record.offset);
  checkStub(
    record,
    manifest,
    { path: image.path, bytes: facts.bytes, domainUuid: facts.domain.uuid, headDigest },
    hydratedBytes(source),
  );
  if (manifest.image.rawBytes === undefined && source.stripes[0]?.imageBytes !== record.offset)
    throw new ParsError('corrupt', `the head of ${record.snapshot} does not end at ${record.offset}`);
  return source;
}
