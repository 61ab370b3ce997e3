// SPDX-License-Identifier: Apache-2.0
/** Asks a person at the terminal for the store of this host, in HDFS with what it takes to log in there. */
import { userInfo } from 'node:os';
import { emptyDisks } from '../install/empty-disks.js';
import { ask } from '../ui/ask.js';

/** The URL of a store. */
export async function askForStore(signal: AbortSignal): Promise<string> {
  process.stderr.write(
    'Where is the memory of saved guests to go? Directories, each the mount point of a disk '
      + 'of its own, with\n'
      + 'commas between them; or a directory in HDFS: webhdfs://nn1:9870,nn2:9870/pars\n',
  );
  const typed = await ask({ text: 'Store', preset: (await emptyDisks()).join(',') }, signal);
  if (typed.startsWith('/')) return `local:${typed.replaceAll(/,\s+/g, ',')}`;
  const isBareHdfs = /^s?webhdfs:/.test(typed) && !typed.includes('?');
  return isBareHdfs ? `${typed}?${(await askForLogin(typed, signal)).join('&')}` : typed;
}

/** Options of the URL; others are typed with it. */
async function askForLogin(url: string, signal: AbortSignal): Promise<string[]> {
  process.stderr.write(
    'As whom? A user name for simple authentication; or the path of a file with a delegation token, which\n'
      + 'may be replaced at any time. With a gateway give the URL with its options.\n',
  );
  const login = await ask({ text: 'User or token file', preset: userInfo().username }, signal);
  const options = [login.startsWith('/') ? `token-file=${inUrl(login)}` : `user=${inUrl(login)}`];
  if (!url.startsWith('swebhdfs:')) return options;
  process.stderr.write("Which file (PEM) holds the cluster's certificate authority?\n");
  const authority = await ask({ text: 'Authority', preset: SYSTEM }, signal);
  return authority === SYSTEM ? options : [...options, `ca-file=${inUrl(authority)}`];
}

const SYSTEM = "the system's";

const inUrl = (text: string): string => encodeURIComponent(text).replaceAll('%2F', '/');
