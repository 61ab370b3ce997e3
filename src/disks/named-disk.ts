// SPDX-License-Identifier: Apache-2.0
/** A disk as the domain XML names it. */

/**
 * Where a network disk is, as far as QEMU needs it to find it. No secret is among it: the XML names those
 * only.
 */
export interface NetworkSource {
  /** "nbd", "rbd", "iscsi", ... */
  protocol: string;
  /** Export, image or target, as the protocol calls it. */
  name: string;
  hosts: NetworkHost[];
  tls: boolean;
  /** Whom the server is to take us for; empty for nobody. */
  user: string;
  /** Has a secret that libvirt hands to QEMU. */
  secret: boolean;
  /** A configuration file of the protocol's library; empty for none. */
  config: string;
  snapshot: string;
  query: string;
}

export interface NetworkHost {
  /** "tcp", "unix", ... */
  transport: string;
  name: string;
  port: string;
  /** Path of a UNIX socket. */
  socket: string;
}

/** Type and target of what the XML hands to QEMU past libvirt: a disk or more, of which nothing is known. */
export const COMMANDLINE = 'commandline';

export interface NamedDisk {
  target: string;
  /** "file", "block", "volume", "network", "dir", "nvme", "vhostuser", ..., or COMMANDLINE. */
  type: string;
  /** "disk", "cdrom", "floppy" or "lun". */
  device: string;
  /** Path of a file or device; empty for the other types, and for a drive without a medium. */
  source: string;
  /** "qcow2" has files below it. Empty: raw. */
  format: string;
  readOnly: boolean;
  /** Of a volume. */
  pool: string;
  volume: string;
  network: NetworkSource | null;
  /** What the XML itself puts below it (<backingStore>), in place of what its image names; nearest first. */
  backing: Backing[];
}

export interface Backing {
  /** Path of a file or device; empty for what is neither. */
  source: string;
  /** Empty when the XML does not say. */
  format: string;
}

/** Where a disk is, for people. Two that name the same place are the same text. */
export function placeOf({ type, source, pool, volume, network }: NamedDisk): string {
  if (type === 'volume') return `${volume} in pool ${pool}`;
  return network === null ? source : networkPlace(network);
}

function networkPlace({ protocol, name, hosts, snapshot }: NetworkSource): string {
  const where = hosts
    .map((host) =>
      host.socket === '' ? `${host.name}${host.port === '' ? '' : `:${host.port}`}` : host.socket,
    )
    .join(',');
  return `${protocol}://${where}/${name.replace(/^\/+/, '')}${snapshot === '' ? '' : `@${snapshot}`}`;
}

/** An optical drive: what it holds is changed while guests run, and no cache of it is ever left out. */
export function isOptical({ device }: { device: string }): boolean {
  return device === 'cdrom';
}

/** A drive without a medium. */
export function isEmpty({ type, source }: NamedDisk): boolean {
  return (type === 'file' || type === 'block') && source === '';
}
