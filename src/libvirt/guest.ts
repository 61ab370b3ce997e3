// SPDX-License-Identifier: Apache-2.0
/** What a restore asks of libvirt and tells it. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ParsError } from '../errors.js';
import { askLibvirt, askOfGuest } from './virsh.js';

/** The state of a guest in virsh's words; null when libvirt does not know it. */
export async function guestState(uuidOrName: string): Promise<string | null> {
  await askLibvirt('version');
  try {
    return (await askOfGuest('domstate', uuidOrName)).trim();
  } catch (error) {
    if (error instanceof ParsError && error.kind === 'missing') return null;
    throw error;
  }
}

/** The name of a guest, which libvirt calls its managed save by. */
export async function guestName(uuidOrName: string): Promise<string> {
  const facts = await askOfGuest('dominfo', uuidOrName);
  const name = /^Name: +(.*)$/m.exec(facts)?.[1];
  if (name === undefined || name === '')
    throw new ParsError('internal', `libvirt does not name ${uuidOrName}`);
  return name;
}

export async function saveGuest(guest: string, file: string, words: readonly string[]): Promise<void> {
  await askOfGuest('save', guest, '--file', file, ...words);
}

export async function managedSaveGuest(guest: string, words: readonly string[]): Promise<void> {
  await askOfGuest('managedsave', guest, ...words);
}

export function savedXml(image: string): Promise<string> {
  return askLibvirt('save-image-dumpxml', '--security-info', '--file', image);
}

export async function setSavedXml(image: string, xml: string): Promise<void> {
  await withFile(xml, (file) => askLibvirt('save-image-define', '--file', image, '--xml', file));
}

export async function defineGuest(xml: string): Promise<void> {
  await withFile(xml, (file) => askLibvirt('define', '--file', file));
}

/** The XML may hold passwords: nobody else reads it. */
async function withFile(text: string, work: (file: string) => Promise<unknown>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'pars-xml-'));
  try {
    const file = join(directory, 'domain.xml');
    await writeFile(file, text, { mode: 0o600 });
    await work(file);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
