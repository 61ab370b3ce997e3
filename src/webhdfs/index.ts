// SPDX-License-Identifier: Apache-2.0
/** A client of WebHDFS (and HttpFS) that knows nothing of the rest of this program. */
export type { BlockLocation, ContentSummary, FileChecksum, FileStatus } from './answers.js';
export { basic } from './basic.js';
export { ChecksumOnTheWay, PlainChunkSums, sameChecksum, type ChunkSums } from './checksum.js';
export { WebHdfsClient } from './client.js';
export { openRange, readRange, transferNames, type RangeOptions } from './download.js';
export { WebHdfsError, type WebHdfsFailure } from './errors.js';
export { NEVER_REACHED, type Redirect } from './namenodes.js';
export { nameNodesOf, type CallOptions, type WebHdfsOptions } from './options.js';
export { spnego } from './spnego.js';
export {
  Upload,
  upload,
  type ChooseReceiver,
  type CreateOptions,
  type OfferReceiver,
  type Uploaded,
} from './upload.js';
