// SPDX-License-Identifier: Apache-2.0
/** Basic authentication (RFC 7617), as gateways like Knox ask for it. */
import { WebHdfsError } from './errors.js';

/**
 * For `WebHdfsOptions.authorization`. `read` gives USER:PASSWORD, and is asked each time, since passwords are
 * changed.
 */
export function basic(read: () => string): () => Promise<string> {
  return async () => {
    const login = read();
    // What is wrong with it is said without it.
    if (!/^[^:\x00-\x1f\x7f]+:[^\x00-\x1f\x7f]*$/.test(login))
      throw new WebHdfsError('login', 'the login of the store is not one line of USER:PASSWORD');
    return `Basic ${Buffer.from(login).toString('base64')}`;
  };
}
