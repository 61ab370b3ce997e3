// SPDX-License-Identifier: Apache-2.0
/** The tree of a coding: a directory that carries the policy, which every file below it takes on. */
import { ParsError } from '../../errors.js';
import { isHdfs } from './errors.js';
import type { HdfsFiles } from './files.js';

/**
 * Makes it if need be; throws, with what the cluster says, when the cluster does not have the coding enabled.
 */
export async function prepareCoding(files: HdfsFiles, coding: string): Promise<void> {
  const directory = files.codedRoot(coding);
  await files.makeParents(`${directory}/x`);
  await files.call(`setting ${directory} to ${coding}`, async (client, call) => {
    if ((await client.erasureCoding(directory, call)) === coding) return;
    try {
      await client.setErasureCoding(directory, coding, call);
    } catch (error) {
      throw isHdfs(error, 'invalid', 'other') ? notEnabled(files, coding, error) : error;
    }
  });
}

function notEnabled({ url }: HdfsFiles, coding: string, cause: Error): ParsError {
  return new ParsError('refused', `${url} does not keep files as ${coding}: ${cause.message}`, {
    hint:
      `name one that is enabled there (hdfs ec -listPolicies), or have it enabled: hdfs ec `
      + `-enablePolicy -policy ${coding}`,
    cause,
  });
}
