// SPDX-License-Identifier: Apache-2.0
/**
 * The disks of a domain XML that libvirt itself hands out. XML out of an image is the reader's to parse,
 * which gives the same answer (native/core/image/domain_xml.cc).
 */
import { DOMParser, type Element } from '@xmldom/xmldom';
import { ParsError } from '../errors.js';
import { type Backing, COMMANDLINE, type NamedDisk, type NetworkSource } from './named-disk.js';

/** Throws 'corrupt' for text that is not the XML of a domain. */
export function disksInXml(xml: string): NamedDisk[] {
  const fail = (_: string, message: string): never => {
    throw new ParsError('corrupt', `libvirt's domain XML cannot be parsed: ${message}`);
  };
  const domain = new DOMParser({ onError: fail }).parseFromString(xml, 'text/xml').documentElement;
  const devices = domain && child(domain, 'devices');
  const disks = devices === null ? [] : children(devices, 'disk').map(namedDisk);
  return domain !== null && hasDrivePastLibvirt(domain) ? [...disks, PAST_LIBVIRT] : disks;
}

const MAX_BACKING = 64;

const PAST_LIBVIRT: NamedDisk = {
  target: COMMANDLINE,
  type: COMMANDLINE,
  device: 'disk',
  source: '',
  format: '',
  readOnly: false,
  pool: '',
  volume: '',
  network: null,
  backing: [],
};

const DRIVES = /^--?(blockdev|hd[a-d]|sd|mtdblock|readconfig)$/;

/** In <qemu:commandline>, whatever its prefix is. */
function hasDrivePastLibvirt(domain: Element): boolean {
  const values = elementsIn(domain)
    .filter(({ localName }) => localName === 'commandline')
    .flatMap((line) => elementsIn(line).map((arg) => attribute(arg, 'value')));
  return values.some((option, i) => {
    const value = values[i + 1] ?? '';
    if (/^--?device$/.test(option)) return /^vhost-(user-blk|vdpa)/.test(value);
    return DRIVES.test(option) || (/^--?drive$/.test(option) && !value.includes('if=pflash'));
  });
}

function namedDisk(disk: Element): NamedDisk {
  const type = attribute(disk, 'type') || 'file';
  const source = child(disk, 'source');
  const of = (wanted: string, name: string): string => (type === wanted ? attribute(source, name) : '');
  return {
    target: attribute(child(disk, 'target'), 'dev'),
    type,
    device: attribute(disk, 'device') || 'disk',
    source: localSource(disk, type),
    format: attribute(child(disk, 'driver'), 'type'),
    readOnly: child(disk, 'readonly') !== null,
    pool: of('volume', 'pool'),
    volume: of('volume', 'volume'),
    network: type === 'network' ? networkSource(disk, source) : null,
    backing: backingOf(disk),
  };
}

/** Of a file or a block device; else empty. */
function localSource(of: Element, type: string): string {
  const source = child(of, 'source');
  if (type === 'file') return attribute(source, 'file');
  return type === 'block' ? attribute(source, 'dev') : '';
}

/** One without a source ends the chain. What is beyond the limit counts as one that is no file. */
function backingOf(disk: Element): Backing[] {
  const found: Backing[] = [];
  for (let at = child(disk, 'backingStore'); at && child(at, 'source'); at = child(at, 'backingStore')) {
    if (found.length === MAX_BACKING) return [...found, { source: '', format: '' }];
    const format = attribute(child(at, 'format'), 'type');
    found.push({ source: localSource(at, attribute(at, 'type')), format });
  }
  return found;
}

function networkSource(disk: Element, source: Element | null): NetworkSource {
  const auth = (source && child(source, 'auth')) ?? child(disk, 'auth');
  const hosts = source === null ? [] : children(source, 'host');
  return {
    protocol: attribute(source, 'protocol'),
    name: attribute(source, 'name'),
    hosts: hosts.map((host) => ({
      transport: attribute(host, 'transport') || 'tcp',
      name: attribute(host, 'name'),
      port: attribute(host, 'port'),
      socket: attribute(host, 'socket'),
    })),
    tls: attribute(source, 'tls') === 'yes',
    user: attribute(auth, 'username'),
    secret: auth !== null && child(auth, 'secret') !== null,
    config: attribute(source && child(source, 'config'), 'file'),
    snapshot: attribute(source && child(source, 'snapshot'), 'name'),
    query: attribute(source, 'query'),
  };
}

function attribute(element: Element | null, name: string): string {
  return element?.getAttribute(name) ?? '';
}

function elementsIn(parent: Element): Element[] {
  return Array.from(parent.childNodes).filter((node): node is Element => node.nodeType === node.ELEMENT_NODE);
}

function child(parent: Element, name: string): Element | null {
  return children(parent, name)[0] ?? null;
}

function children(parent: Element, name: string): Element[] {
  return Array.from(parent.childNodes).filter((node): node is Element => node.nodeName === name);
}
