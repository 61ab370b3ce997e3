// SPDX-License-Identifier: Apache-2.0
/** The domain XML of a saved guest, changed as far as another host needs it: where its disks are. */
import { DOMParser, XMLSerializer, type Element } from '@xmldom/xmldom';
import { ParsError } from '../errors.js';

/**
 * The same XML with the disks in `moved` (target to path) at their new places; the rest stays as libvirt
 * wrote it.
 */
export function moveDisks(xml: string, moved: ReadonlyMap<string, string>): string {
  if (moved.size === 0) return xml;
  const document = parse(xml);
  const found = new Set<string>();
  for (const disk of disksOf(document.documentElement)) {
    const target = child(disk, 'target')?.getAttribute('dev') ?? '';
    const path = moved.get(target);
    if (path === undefined) continue;
    found.add(target);
    moveDisk(disk, target, path);
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

function moveDisk(disk: Element, target: string, path: string): void {
  const source = child(disk, 'source');
  const attribute = source?.hasAttribute('file') ? 'file' : source?.hasAttribute('dev') ? 'dev' : null;
  if (source === null || attribute === null)
    throw new ParsError('usage', `${target} is no file and no device, so it has no path to set`);
  source.setAttribute(attribute, path);
}

function child(parent: Element, name: string): Element | null {
  return elements(parent).find(({ tagName }) => tagName === name) ?? null;
}

function elements(parent: Element): Element[] {
  return Array.from(parent.childNodes).filter((node): node is Element => node.nodeType === node.ELEMENT_NODE);
}
