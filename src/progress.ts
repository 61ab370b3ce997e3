// SPDX-License-Identifier: Apache-2.0
/** How long work tells how far it is. What is drawn from it, if anything, is the caller's affair. */
export interface ProgressEvent {
  /** What is being done, a word or two: "reading", "storing". A new phase begins a new bar. */
  phase: string;
  done: number;
  /** 0 while it is not known. */
  total: number;
  unit: 'bytes' | 'pages' | 'images';
}

export type OnProgress = (event: ProgressEvent) => void;
