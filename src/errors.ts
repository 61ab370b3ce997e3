// SPDX-License-Identifier: Apache-2.0
/**
 * Errors typed by what the caller can do about them, mapped to exit codes in one place (docs: README, "Exit
 * codes").
 */
export type ErrorKind =
  | 'usage' //        the command line or the configuration is wrong
  | 'refused' //      a policy, an owner or a guard forbids it; says what would allow it
  | 'missing' //      the thing named does not exist
  | 'corrupt' //      it exists and does not match its digest, or does not parse
  | 'unreachable' //  the store (or a part of it needed) cannot be reached now
  | 'no-space' //     a disk or quota is full
  | 'busy' //         in use by another process; try again later
  | 'lost' //         critical data has no readable copy left
  | 'internal'; //    an internal error (please report it)

export const EXIT_CODES: Record<ErrorKind, number> = {
  internal: 1,
  usage: 2,
  refused: 3,
  missing: 4,
  corrupt: 5,
  unreachable: 6,
  'no-space': 7,
  busy: 8,
  lost: 9,
};

export class ParsError extends Error {
  readonly kind: ErrorKind;
  /** What to do next, one sentence; shown under the message. */
  readonly hint: string | undefined;
  /** It may be put right at any time, as with a store that is away: who can wait does. */
  readonly passing: boolean;

  constructor(
    kind: ErrorKind,
    message: string,
    options: { hint?: string; cause?: unknown; passing?: boolean } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'ParsError';
    this.kind = kind;
    this.hint = options.hint;
    this.passing = options.passing ?? kind === 'unreachable';
  }
}
