// SPDX-License-Identifier: Apache-2.0
/** What the core says of stored bytes that it cannot decode, as errors of the snapshot they belong to. */
import { ParsError } from '../errors.js';
import { codeOf } from '../system/absence.js';

/**
 * What decoding gives; throws 'corrupt', naming `what`, for bytes that do not decode. What the system refuses
 * (ENOMEM) is handed through.
 */
export async function decoded<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined || code === 'io' || /^E[A-Z0-9]+$/.test(code)) throw error;
    throw new ParsError('corrupt', `${what} does not decode: ${(error as Error).message}`, { cause: error });
  }
}
