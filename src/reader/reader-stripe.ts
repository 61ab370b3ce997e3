// SPDX-License-Identifier: Apache-2.0
/** What the reader packs: a stretch of the image, in frames. */

/** One frame as the reader packed it; `data` is empty when its class is not stored. */
export interface ReaderFrame {
  kind: number;
  pages: number;
  rawBytes: number;
  data: Buffer;
  /** Gives the memory of `data` up: it is filled with another frame then. At most once. */
  release(): void;
}

export interface ReaderStripe {
  imageOffset: number;
  imageBytes: number;
  frames: ReaderFrame[];
}
