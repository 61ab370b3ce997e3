// SPDX-License-Identifier: Apache-2.0
/**
 * A program that reads one stream and writes another: a compressor at work on guest memory. As root it runs
 * under a user of its own, without network, capabilities or new privileges, and may write no file (R1); it
 * ends with us.
 */
import { bestEffort } from '../system/best-effort.js';
import { ParsError } from '../errors.js';
import { PipedChild } from '../system/child-process.js';
import { PROGRAM_PATH } from './save-format.js';

const PIECE = 1 << 20;
/** The range systemd uses for dynamic users, as for the reader: no account and no file belongs to it. */
const FIRST_UID = 61_184;
const UIDS = 4336;

export class Filter {
  readonly #child: PipedChild;
  readonly #name: string;
  /** It reads what we give it: that it fails is not the image's fault. */
  readonly #fed: boolean;

  /**
   * `input`: a descriptor to read from, at its present position, or 'pipe' for what is written to the filter.
   */
  constructor(command: readonly string[], input: number | 'pipe', signal?: AbortSignal) {
    this.#name = command[0] ?? '';
    this.#fed = input === 'pipe';
    const env = { PATH: PROGRAM_PATH.join(':'), LC_ALL: 'C' };
    this.#child = new PipedChild(jailed(command), (writeFd) => [input, writeFd, 'pipe'], env, signal);
  }

  /**
   * Gives it more to read; comes back when all of it was taken, so that `data` may be used again. Throws when
   * it has ended.
   */
  async write(data: Buffer): Promise<void> {
    const taken = new Promise<boolean>((resolve) =>
      this.#child.stdin?.write(data, (error) => resolve(!error)),
    );
    if (
      !this.#child.ended
      && (await Promise.race([taken, bestEffort(this.#child.ending()).then(() => false)]))
    )
      return;
    await this.finish();
    throw new ParsError('internal', `${this.#name} ended before it had read everything`);
  }

  /** There is no more to read. */
  end(): void {
    this.#child.stdin?.end();
  }

  /** All that it writes, in pieces. */
  async *output(): AsyncGenerator<Buffer> {
    for (;;) {
      const data = await this.#child.read(Buffer.allocUnsafeSlow(PIECE));
      if (data.length > 0) yield data;
      if (data.length < PIECE) return;
    }
  }

  /** Waits for its end. Throws unless it was content: half a stream is none. */
  async finish(): Promise<void> {
    const { code, how, said } = await this.#child.ending();
    if (code === 0) return;
    throw new ParsError(this.#fed ? 'internal' : 'corrupt', `${this.#name} ${how}${said}`, {
      hint: this.#fed ? 'try again' : 'the image is damaged, or still being written; Pars leaves it alone',
    });
  }

  /** Ends it, whatever it is doing. Safe twice. */
  async close(): Promise<void> {
    await this.#child.close();
  }
}

function jailed(command: readonly string[]): string[] {
  const privileges = ['setpriv', '--no-new-privs', '--pdeathsig', 'KILL'];
  const limits = ['prlimit', '--fsize=0', '--core=0', '--nofile=64', '--', ...command];
  if (process.getuid?.() !== 0) return [...privileges, '--', ...limits];
  const uid = String(FIRST_UID + (process.pid % UIDS));
  return [
    'unshare',
    '--net',
    '--ipc',
    '--',
    ...privileges,
    `--reuid=${uid}`,
    `--regid=${uid}`,
    '--clear-groups',
    '--inh-caps=-all',
    '--bounding-set=-all',
    '--',
    ...limits,
  ];
}
