// SPDX-License-Identifier: Apache-2.0
/**
 * SPNEGO: logging in with the caller's Kerberos ticket. It takes the npm package `kerberos`, which is native,
 * needs Kerberos' headers to be built, and is installed by who wants this; a delegation token needs none of
 * it.
 */
import { WebHdfsError } from './errors.js';

/** The part of the package that is used. */
interface Kerberos {
  GSS_MECH_OID_SPNEGO: number;
  initializeClient(
    service: string,
    options: { mechOID: number },
  ): Promise<{ step(challenge: string): Promise<string> }>;
}

/** For `WebHdfsOptions.authorization`. Throws 'login' when the package or a ticket is missing. */
export function spnego(load: () => Promise<unknown> = loadPackage): (host: string) => Promise<string> {
  return async (host) => {
    try {
      const { initializeClient, GSS_MECH_OID_SPNEGO } = kerberosOf(await load());
      const client = await initializeClient(`HTTP@${host}`, { mechOID: GSS_MECH_OID_SPNEGO });
      return `Negotiate ${await client.step('')}`;
    } catch (cause) {
      throw new WebHdfsError(
        'login',
        `no Kerberos login at ${host}: ${(cause as Error).message.split('\n')[0]} (needed: npm package `
          + `kerberos, a ticket by kinit)`,
        { cause },
      );
    }
  };
}

// Not a name that the compiler looks for: it need not be there.
const loadPackage = (name = 'kerberos'): Promise<unknown> => import(name);

/** A CommonJS package may come as the default export. */
function kerberosOf(loaded: unknown): Kerberos {
  const module = loaded as Kerberos & { default?: Kerberos };
  return module.default ?? module;
}
