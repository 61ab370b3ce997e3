// SPDX-License-Identifier: Apache-2.0
/** What a cluster keeps from others of the guests' data, and what it does not, in plain words (R24). */
import type { FileStatus } from '../../webhdfs/index.js';
import type { HdfsFiles } from './files.js';

/** What a cluster without Kerberos or TLS means, in plain words (R24). */
export function trustWarnings({ client: { options } }: HdfsFiles): string[] {
  const warnings: string[] = [];
  if (options.nameNodes.some((address) => address.startsWith('http:'))) {
    warnings.push(
      "without TLS the guests' memory, with the secrets in it, crosses the network readable by anybody "
        + 'on it (swebhdfs:// encrypts it)',
    );
  }
  if (
    options.token === undefined
    && options.authorization === undefined
    && options.certificate === undefined
  ) {
    warnings.push(
      `without Kerberos HDFS believes anyone who claims to be ${options.user ?? 'some user'}: whoever `
        + `reaches the NameNode can read and change the guests' memory`,
    );
  }
  return warnings;
}

/** `directory`: that of the store. Directories below it can be zones of their own, which is not told here. */
export function protections({ client: { options } }: HdfsFiles, directory: FileStatus | null): string[] {
  if (directory?.encBit !== true) return [];
  const network = options.nameNodes.some((address) => address.startsWith('http:'))
    ? '; on the network it does not, for DataNodes decrypt'
    : '';
  return [
    `it lies in an encryption zone, whose key protects the guests' memory on the disks of the `
      + `DataNodes${network}`,
  ];
}
