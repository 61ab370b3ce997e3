// SPDX-License-Identifier: Apache-2.0
/** The domain XML of a saved guest, changed as far as another host needs it: where its disks are. */
import { DOMParser, XMLSerializer, type Element } from '@xmldom/xmldom';
import { ParsError } from '../errors.js';

/**
 * The same XML with the disks in `moved` (target to path) at their new places; the rest stays as libvirt
 * wrote it. `devices`: the targets whose path is a block device; the others become files, whatever they were.
 */
export function moveDisks(
  xml: string,
  moved: ReadonlyMap<string, string>,
  devices: ReadonlySet<string> = new Set(),
): string {
  if (moved.size === 0) return xml;
  const document = parse(xml);
  const found = new Set<string>();
  for (const disk of disksOf(document.documentElement)) {
    const target = child(disk, 'target')?.getAttribute('dev') ?? '';
    const path = moved.get(target);
    if (path === undefined) continue;
    found.add(target);
    moveDisk(disk, path, devices.has(target));
  }
  const unknown = [...moved.keys()].filter((target) => !found.has(target));
  if (unknown.length > 0)
    throw new ParsError('usage', `the guest has no disk ${unknown.join(', ')}`, {
      hint: 'see its disks: pars show SNAPSHOT --json',
    });
  return new XMLSerializer().serializeToString(document);
}

function parse(xml: string): ReturnType<DOMParser['parseFromString']> {
  const fail = (_: string, message: string): never => {
    throw new ParsError('corrupt', `the domain XML in the image cannot be parsed: ${message}`);
  };
  return new DOMParser({ onError: fail }).parseFromString(xml, 'text/xml');
}

function disksOf(domain: Element | null): Element[] {
  const devices = domain && child(domain, 'devices');
  return devices ? elements(devices).filter(({ tagName }) => tagName === 'disk') : [];
}

/** Of the source stays what is about the contents; servers, pools and whom to ask for a password go. */
const KEPT_IN_SOURCE = new Set(['encryption', 'seclabel', 'slices']);
const KEPT_OF_SOURCE = new Set(['startupPolicy']);

function moveDisk(disk: Element, path: string, isDevice: boolean): void {
  const source = child(disk, 'source') ?? newChild(disk, 'source');
  const gone = Array.from(source.attributes, ({ name }) => name).filter((name) => !KEPT_OF_SOURCE.has(name));
  for (const name of gone) source.removeAttribute(name);
  for (const inside of elements(source)) if (!KEPT_IN_SOURCE.has(inside.tagName)) source.removeChild(inside);
  for (const auth of elements(disk).filter(({ tagName }) => tagName === 'auth')) disk.removeChild(auth);
  disk.setAttribute('type', isDevice ? 'block' : 'file');
  source.setAttribute(isDevice ? 'dev' : 'file', path);
}

function newChild(parent: Element, name: string): Element {
  const document = parent.ownerDocument;
  if (document === null) throw new ParsError('internal', 'an element of the domain XML is in no document');
  const made = document.createElement(name);
  parent.appendChild(made);
  return made;
}

function child(parent: Element, name: string): Element | null {
  return elements(parent).find(({ tagName }) => tagName === name) ?? null;
}

function elements(parent: Element): Element[] {
  return Array.from(parent.childNodes).filter((node): node is Element => node.nodeType === node.ELEMENT_NODE);
}
