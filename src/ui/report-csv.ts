// SPDX-License-Identifier: Apache-2.0
/** Reports as CSV (RFC 4180): a row a guest, counts in pages and bytes, an error in the last column. */
import { PAGE_CLASSES } from '../page-classes.js';
import { plain } from '../system/plain-text.js';
import { PRESETS } from '../policy/policy.js';
import type { ImageReport } from '../report/report.js';
import { bytesByFate, bytesOnDisks, type ReportOutcome } from '../report/report-summary.js';

const FIXED = [
  'path',
  'name',
  'uuid',
  'kernel',
  'introspected',
  'estimated',
  'image_bytes',
  'ram_bytes',
  'zero_bytes',
  'critical_bytes',
  'expendable_bytes',
  'reread_bytes',
  'reread_requests',
];
const PER_CLASS = ['pages', 'bytes', 'estimated_compressed_bytes'];
const PER_POLICY = ['bytes', 'estimated_compressed_bytes', 'guest_lost_per_year'];
const ON_DISKS = 'on_its_disks_bytes';
const NATIVE = ['native_3x_bytes', 'native_3x_zstd_estimated_bytes', 'native_rs63_bytes'];
const HEAD = [
  ...FIXED,
  ...columns([...PAGE_CLASSES, 'skeleton'], PER_CLASS),
  ...columns([...PRESETS, 'configured'], PER_POLICY),
  'configured_policy',
  ...NATIVE,
  ON_DISKS,
  'error',
];

export function renderCsv(outcomes: readonly ReportOutcome[]): string {
  return [HEAD, ...outcomes.map(cells)].map((row) => row.map(quote).join(',')).join('\r\n');
}

function columns(names: readonly string[], parts: readonly string[]): string[] {
  return names.flatMap((name) => parts.map((part) => `${name}_${part}`));
}

function cells(outcome: ReportOutcome): string[] {
  if ('error' in outcome)
    return [outcome.path, ...Array<string>(HEAD.length - 2).fill(''), outcome.error.message];
  return [outcome.path, ...identity(outcome.report), ...figures(outcome.report), ''];
}

function identity({ image: { domain }, guest, estimated }: ImageReport): string[] {
  return [domain.name, domain.uuid, guest.kernel ?? '', String(guest.introspected), String(estimated)];
}

function figures(report: ImageReport): string[] {
  const { image, ram, classes, skeleton, policies, natives, reread, policy: configured } = report;
  const { critical, expendable } = bytesByFate(report);
  const perPolicy = [...PRESETS, configured].flatMap((name) => {
    const policy = policies[name];
    return [policy?.storedBytes, policy?.estimatedCompressedBytes, policy?.durability.guestLostPerYear];
  });
  return [
    ...[
      image.bytes,
      ram.pages * ram.pageSize,
      ram.zeroPages * ram.pageSize,
      critical,
      expendable,
      reread.bytes,
      reread.requests,
    ].map(cell),
    ...PAGE_CLASSES.flatMap((name) => [
      classes[name].pages,
      classes[name].rawBytes,
      classes[name].estimatedCompressedBytes,
    ]).map(cell),
    ...['', cell(skeleton.rawBytes), cell(skeleton.estimatedCompressedBytes)],
    ...perPolicy.map(cell),
    configured,
    ...[natives.threeCopies, natives.estimatedThreeCopiesOfZstd, natives.rs63].map(cell),
    cell(bytesOnDisks(report)),
  ];
}

/** A figure that nobody knows is an empty cell. */
function cell(value: number | null | undefined): string {
  return String(value ?? '');
}

/**
 * Names are a guest owner's choice: one that a spreadsheet would run as a formula is shown as the text it is.
 */
function quote(value: string): string {
  const cell = plain(value);
  const text = /^[=+\-@]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
