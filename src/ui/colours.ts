// SPDX-License-Identifier: Apache-2.0
/** Colours where they help: on a terminal, unless NO_COLOR is set. */
import pc from 'picocolors';

export type Colours = ReturnType<typeof pc.createColors>;

export function coloursFor(stream: { isTTY?: boolean }): Colours {
  return pc.createColors(stream.isTTY === true && !process.env['NO_COLOR']);
}
