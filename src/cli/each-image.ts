// SPDX-License-Identifier: Apache-2.0
/**
 * The images named in one call: each has its turn, one that fails does not keep the others from theirs, and
 * --json is one document.
 */
import type { Context } from './context.js';
import { describeFailure, exitCodeOf, printError } from './failure.js';

/** What became of an image, for machines and for people. */
export interface Answer {
  json: object;
  say(): void;
}

/**
 * Works on each image in turn; the exit code is that of the first that failed. A signal ends all; the error
 * of the only image is thrown.
 */
export async function eachImage(
  { output, signal }: Context,
  images: readonly string[],
  work: (image: string) => Promise<Answer>,
): Promise<number> {
  const answers: object[] = [];
  let exitCode = 0;
  for (const image of images) {
    try {
      const { json, say } = await work(image);
      answers.push(json);
      say();
    } catch (error) {
      if (signal.aborted || images.length === 1) throw error;
      answers.push({ image, error: describeFailure(error, image) });
      if (!output.isJson) printError(error, output, image);
      exitCode ||= exitCodeOf(error);
    }
  }
  output.json(images.length === 1 ? answers[0] : { images: answers });
  return exitCode;
}
