// SPDX-License-Identifier: Apache-2.0
/** A stretch of the image, in frames. */

/** `data` is empty when its class is not stored. */
export interface Frame {
  kind: number;
  pages: number;
  rawBytes: number;
  data: Buffer;
  /** Gives the memory of `data` up: it is filled with another frame then. At most once. */
  release(): void;
}

export interface Stripe {
  imageOffset: number;
  imageBytes: number;
  frames: Frame[];
}
