// SPDX-License-Identifier: Apache-2.0
/**
 * Where the disks of a guest are, as a domain XML or the XML of one of libvirt's snapshots says. The XML
 * comes from libvirt itself (its own files, a hook's standard input), never from an image.
 */
import { DOMParser, type Element, ParseError } from '@xmldom/xmldom';

export interface DiskSource {
  target: string;
  /** Path of a file or device; empty for a disk that has none. */
  source: string;
  /** As the driver element calls it: qcow2, raw, ... */
  format: string;
  blockDevice: boolean;
}

/** The disks of a domain, or of the domain inside a domainsnapshot. Throws on text that is not such XML. */
export function disksOf(xml: string): DiskSource[] {
  const root = new DOMParser({ onError: refuse }).parseFromString(xml, 'text/xml').documentElement;
  const domain = root?.tagName === 'domainsnapshot' ? child(root, 'domain') : root;
  if (domain?.tagName !== 'domain') throw new Error('no domain in the XML');
  const devices = child(domain, 'devices');
  return devices === null ? [] : elements(devices, 'disk').map(diskOf);
}

/**
 * The file of an external memory snapshot; null for a snapshot without one. Throws on text that is not such
 * XML.
 */
export function memoryFileOf(xml: string): string | null {
  const root = new DOMParser({ onError: refuse }).parseFromString(xml, 'text/xml').documentElement;
  if (root?.tagName !== 'domainsnapshot') throw new ParseError('no domainsnapshot in the XML');
  return child(root, 'memory')?.getAttribute('file') || null;
}

function diskOf(disk: Element): DiskSource {
  const source = child(disk, 'source');
  return {
    target: child(disk, 'target')?.getAttribute('dev') ?? '',
    source: source?.getAttribute('file') || source?.getAttribute('dev') || '',
    format: child(disk, 'driver')?.getAttribute('type') ?? '',
    blockDevice: disk.getAttribute('type') === 'block',
  };
}

function refuse(_: string, message: string): never {
  throw new Error(message);
}

function child(parent: Element, name: string): Element | null {
  return elements(parent, name)[0] ?? null;
}

function elements(parent: Element, name: string): Element[] {
  return Array.from(parent.childNodes).filter((node): node is Element => node.nodeName === name);
}

/** The text of an element right below the root; null when there is none. */
export function textOf(xml: string, name: string): string | null {
  const root = new DOMParser({ onError: refuse }).parseFromString(xml, 'text/xml').documentElement;
  return (root && child(root, name)?.textContent) ?? null;
}
