// SPDX-License-Identifier: Apache-2.0
/** How QEMU is to open a disk, from what the domain XML says of it and nothing else. */
import type { NamedDisk, NetworkHost, NetworkSource } from './named-disk.js';
import type { Blockdev } from './qemu-export.js';

/** What has no answer: a reason for people. */
export interface Reason {
  reason: string;
}

export function isReason(answer: object): answer is Reason {
  return 'reason' in answer && typeof answer.reason === 'string';
}

const NBD_PORT = 10_809,
  RBD_PORT = 6789,
  ISCSI_PORT = 3260,
  GLUSTER_PORT = 24_007;

/**
 * `path`: where it is on this host; null for a network disk. Its format driver, over what holds its bytes.
 */
export function blockdevOf(
  disk: Pick<NamedDisk, 'format' | 'network'>,
  path: string | null,
  isDevice: boolean,
): Blockdev | Reason {
  const format = disk.format || 'raw';
  if (!/^[a-z0-9-]{1,32}$/.test(format))
    return { reason: `its format ${JSON.stringify(format)} is not known` };
  const storage =
    path === null
      ? networkNode(disk.network)
      : { driver: isDevice ? 'host_device' : 'file', filename: path, locking: 'off' };
  if (isReason(storage)) return storage;
  return { driver: format, 'read-only': true, file: storage };
}

function networkNode(network: NetworkSource | null): Blockdev | Reason {
  if (network === null) return { reason: 'it has no source' };
  if (network.tls) return { reason: 'it is reached by TLS, whose keys libvirt hands to QEMU' };
  switch (network.protocol) {
    case 'nbd':
      return nbdNode(network);
    case 'rbd':
      return rbdNode(network);
    case 'iscsi':
      return iscsiNode(network);
    case 'gluster':
      return glusterNode(network);
    case 'http':
    case 'https':
      return httpNode(network);
    default:
      return { reason: `disks of protocol ${network.protocol} cannot be opened without libvirt` };
  }
}

export function nbdAddress(host: NetworkHost): { path: string } | { host: string; port: number } {
  return host.transport === 'unix'
    ? { path: host.socket }
    : { host: host.name, port: Number(host.port || NBD_PORT) };
}

function nbdNode({ name, hosts: [host] }: NetworkSource): Blockdev | Reason {
  if (host === undefined) return { reason: 'it names no server' };
  return { driver: 'nbd', server: serverOf(host, NBD_PORT), ...(name !== '' && { export: name }) };
}

/** Without a secret of libvirt's it is opened with the keys in /etc/ceph, if there are any. */
function rbdNode({ name, hosts, user, config, snapshot }: NetworkSource): Blockdev | Reason {
  const parts = name.split('/');
  if (parts.length !== 2 && parts.length !== 3)
    return { reason: `${JSON.stringify(name)} names no pool and image` };
  const [pool = '', ...rest] = parts;
  const image = rest.pop() ?? '',
    [namespace] = rest;
  return {
    driver: 'rbd',
    pool,
    image,
    ...(namespace !== undefined && { namespace }),
    ...(user !== '' && { user }),
    ...(config !== '' && { conf: config }),
    ...(snapshot !== '' && { snapshot }),
    ...(hosts.length > 0 && {
      server: hosts.map((host) => ({ host: host.name, port: host.port || String(RBD_PORT) })),
    }),
  };
}

function iscsiNode({ name, hosts: [host], secret }: NetworkSource): Blockdev | Reason {
  if (secret) return { reason: 'it needs a password, which libvirt hands to QEMU' };
  const [target = '', lun = '0'] = name.split('/');
  if (host === undefined || !/^\d+$/.test(lun))
    return { reason: `${JSON.stringify(name)} names no target and unit` };
  return {
    driver: 'iscsi',
    transport: 'tcp',
    portal: `${host.name}:${host.port || ISCSI_PORT}`,
    target,
    lun: Number(lun),
  };
}

function glusterNode({ name, hosts }: NetworkSource): Blockdev | Reason {
  const [volume = '', ...path] = name.split('/');
  if (hosts.length === 0 || path.length === 0)
    return { reason: `${JSON.stringify(name)} names no volume and path` };
  return {
    driver: 'gluster',
    volume,
    path: path.join('/'),
    server: hosts.map((host) => serverOf(host, GLUSTER_PORT)),
  };
}

function httpNode({ protocol, name, hosts: [host], query, secret }: NetworkSource): Blockdev | Reason {
  if (secret || host === undefined) return { reason: 'it needs a password, which libvirt hands to QEMU' };
  const port = host.port === '' ? '' : `:${host.port}`;
  const path = name.replace(/^\/+/, '');
  const url = `${protocol}://${host.name}${port}/${path}${query === '' ? '' : `?${query}`}`;
  return { driver: protocol, url };
}

function serverOf(host: NetworkHost, port: number): object {
  if (host.transport === 'unix') return { type: 'unix', path: host.socket };
  return { type: 'inet', host: host.name, port: host.port || String(port) };
}
