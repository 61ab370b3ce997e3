// SPDX-License-Identifier: Apache-2.0
/** What the report comes to: compressed, over all copies, beside what people do without Pars. */
import type { ImageReport } from './report.js';

export interface HeadlineRow {
  /** How it is stored. */
  name: string;
  /** Null when nobody sampled the image. */
  estimatedBytes: number | null;
  /** What the configured policy saves against it; null for itself, or when that is not known. */
  saved: number | null;
}

export function headlineOf({ policies, natives, policy }: ImageReport): HeadlineRow[] {
  const own = policies[policy]?.estimatedCompressedBytes ?? null;
  const row = (name: string, estimatedBytes: number | null): HeadlineRow => ({
    name,
    estimatedBytes,
    saved: own === null || estimatedBytes === null || estimatedBytes === 0 ? null : 1 - own / estimatedBytes,
  });
  return [
    { name: policy, estimatedBytes: own, saved: null },
    row('3 copies of the zstd image', natives.estimatedThreeCopiesOfZstd),
    row('the zstd image in RS-6-3', natives.estimatedRs63OfZstd),
  ];
}
