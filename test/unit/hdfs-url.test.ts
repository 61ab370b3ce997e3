// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ParsError } from '../../src/errors.js';
import { parseHdfsUrl } from '../../src/stores/hdfs/url.js';

describe('the URL of a store in HDFS', () => {
  it('names NameNodes and a directory', () => {
    expect(parseHdfsUrl('webhdfs://nn1:9870,nn2:9870/user/pars/')).toMatchObject({
      url: 'webhdfs://nn1:9870,nn2:9870/user/pars/',
      root: '/user/pars',
      options: { nameNodes: ['http://nn1:9870', 'http://nn2:9870'], user: userInfo().username },
    });
    expect(parseHdfsUrl('swebhdfs://nn1:9871/pars').options.nameNodes).toEqual(['https://nn1:9871']);
  });

  it('takes options for gateways, users, tokens, authorities and addresses', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'pars-url-'));
    await writeFile(join(directory, 'ca.pem'), 'PEM');
    const url =
      `swebhdfs://gw:8443/pars?user=pars&prefix=gateway/x/webhdfs/v1/&token-file=/etc/pars/token`
      + `&map=dn1:9865=10.0.0.1:9865&map=dn2=10.0.0.2&ca-file=${directory}/ca.pem`;
    expect(parseHdfsUrl(url).options).toEqual({
      nameNodes: ['https://gw:8443'],
      user: 'pars',
      prefix: '/gateway/x/webhdfs/v1',
      token: expect.any(Function) as () => Promise<string>,
      hostMap: { 'dn1:9865': '10.0.0.1:9865', dn2: '10.0.0.2' },
      ca: Buffer.from('PEM'),
      caFile: `${directory}/ca.pem`,
    });
    await rm(directory, { recursive: true });
  });

  it.each([
    ['webhdfs://nn1:9870', 'not the URL of a directory'],
    ['webhdfs://nn1:9870/', 'names no directory'],
    ['webhdfs:///pars', 'not the URL of a directory'],
    ['webhdfs://root:secret@nn1:9870/pars', 'not the URL of a directory'],
    ['webhdfs://nn1:9870/a/../b', '".." cannot be part of a path'],
    ['webhdfs://nn1:9870/a%3Ab', '"a:b" cannot be part of a path'],
    ['webhdfs://nn1:9870/pars?token=abc', 'unknown option "token"'],
    ['webhdfs://nn1:9870/pars?map=dn1', 'map=dn1 is not map=HOST=HOST'],
    ['webhdfs://nn1:9870/pars?ca-file=/none.pem', 'cannot read the certificate authority'],
  ])('refuses %s', (url, message) => {
    expect(() => parseHdfsUrl(url)).toThrow(message);
    expect(() => parseHdfsUrl(url)).toThrow(ParsError);
  });

  it('does not repeat what stands behind the question mark', () => {
    expect(() => parseHdfsUrl('webhdfs://nn1?delegation=SECRET')).toThrow(/^(?!.*SECRET)/);
  });
});
