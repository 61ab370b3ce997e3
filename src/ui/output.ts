// SPDX-License-Identifier: Apache-2.0
/**
 * Where output goes: results on stdout, everything about them on stderr. Nothing else prints, and nothing
 * leaves here that a terminal would obey, except the colours that this program chose.
 */
import { EXIT_CODES } from '../errors.js';
import { plain, printable, printableJson } from '../system/plain-text.js';
import { type Colours, coloursFor } from './colours.js';

export interface OutputOptions {
  json?: boolean;
  quiet?: boolean;
}

export class Output {
  readonly isJson: boolean;
  readonly isQuiet: boolean;

  constructor(options: OutputOptions) {
    this.isJson = options.json ?? false;
    this.isQuiet = options.quiet ?? false;
  }

  /** Bars belong on a terminal that a person watches. */
  get wantsProgress(): boolean {
    return process.stderr.isTTY === true && !this.isQuiet && !this.isJson;
  }

  /** Colours for stdout. */
  get colours(): Colours {
    return coloursFor(process.stdout);
  }

  /** The result as text; nothing with --json. */
  text(text: string): void {
    if (!this.isJson) process.stdout.write(`${printable(text, this.colours.isColorSupported)}\n`);
  }

  /** The result as one JSON value; nothing without --json. */
  json(value: unknown): void {
    if (this.isJson) process.stdout.write(`${printableJson(value)}\n`);
  }

  /** A remark about what was done; left out by --quiet. */
  note(text: string): void {
    if (!this.isQuiet) process.stderr.write(`${printable(text, false)}\n`);
  }

  /** Something the reader should know even with --quiet. */
  warning(text: string): void {
    process.stderr.write(`${coloursFor(process.stderr).yellow('warning:')} ${indented(text)}\n`);
  }

  failure(message: string, hint: string | null = null): void {
    process.stderr.write(`${coloursFor(process.stderr).red('pars:')} ${indented(message)}\n`);
    if (hint !== null) process.stderr.write(`      ${indented(hint)}\n`);
  }

  /** For whoever looks for an error in the program. */
  trace(stack: string): void {
    process.stderr.write(`${printable(stack, false)}\n`);
  }
}

/** No line of it begins as one of this program's does. */
const indented = (text: string): string => printable(text, false).replace(/\r?\n/g, '\n      ');

/**
 * `pars list | head` is not an error; a result that cannot be written is one, and nobody has seen the result.
 * To be called once, before anything is written.
 */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') return;
    const kind = error.code === 'ENOSPC' ? 'no-space' : 'internal';
    process.stderr.write(`pars: the result could not be written: ${plain(error.message)}\n`);
    process.exit(EXIT_CODES[kind]);
  });
  // There is no place left to say it.
  process.stderr.on('error', () => {});
}
