// SPDX-License-Identifier: Apache-2.0
/** What verify found, as people and programs see it. */
import type { ObjectFinding, ObjectRole, SnapshotHealth } from '../health/snapshot-health.js';
import type { Verification } from '../health/verify.js';
import { criticalPlacement, describePlacement, placementWarning } from '../health/placement.js';
import { worstFault } from '../health/verify.js';
import type { Colours } from './colours.js';
import { plain } from '../system/plain-text.js';
import { type Column, renderTable } from './table.js';
import { formatBytes, formatCount } from './units.js';

/** What one class of data looks like. */
interface Row {
  class: ObjectRole;
  critical: boolean;
  objects: number;
  bytes: number;
  bytesRead: number;
  /** Good copies of the worst object, and how many each should have. */
  goodCopies: number;
  wantedCopies: number;
  missing: number;
  corrupt: number;
  unreachable: number;
  lostPages: number;
}

const COLUMNS: readonly Column[] = [
  { heading: 'CLASS' },
  { heading: 'OBJECTS', align: 'right' },
  { heading: 'BYTES', align: 'right' },
  { heading: 'COPIES', align: 'right' },
  { heading: 'MISSING', align: 'right' },
  { heading: 'CORRUPT', align: 'right' },
  { heading: 'UNREACHABLE', align: 'right' },
  { heading: 'LOST PAGES', align: 'right' },
  { heading: '' },
];

export function verificationJson(verification: Verification): Record<string, unknown> {
  const { snapshot, health, error, repair, storedAnew, disks } = verification;
  return {
    snapshot,
    outcome: worstFault(verification) ?? 'intact',
    error: error && { kind: error.kind, message: error.message, hint: error.hint ?? null },
    domain: health?.manifest.domain ?? null,
    droppedPages: health?.manifest.droppedPages ?? null,
    ...(health?.manifest.references && { pagesOnDisks: health.manifest.references.pages }),
    ...(disks && {
      disks: { ...disks, error: disks.error && { kind: disks.error.kind, message: disks.error.message } },
    }),
    placement: health && placementJson(health),
    classes: health ? rowsOf(health) : null,
    faults: health ? health.findings.filter(isFaulty).map(faultJson) : null,
    storedAnew,
    repair: repair && {
      ...repair,
      failed: repair.failed.map(({ name, error: why }) => ({ name, kind: why.kind, message: why.message })),
    },
  };
}

export function renderVerification(verification: Verification, colours: Colours): string {
  const { snapshot, health, error, repair, storedAnew } = verification;
  if (health === null) return `${snapshot}  ${colours.red(error.kind)}: ${plain(error.message)}`;
  const outcome = worstFault(verification);
  const lines = [
    `${snapshot}  ${plain(health.manifest.domain.name)}  `
      + `${outcome === null ? colours.green('intact') : colours.red(outcome)}`,
  ];
  lines.push(...placementLines(health, colours), ...diskLines(verification));
  if (repair) lines.push(...repairLines(repair));
  if (storedAnew !== null)
    lines.push(
      `  this host has its image, which was stored again as ${storedAnew}; the damaged snapshot stays `
        + `until: pars rm --yes ${snapshot}`,
    );
  if (outcome === null) return lines.join('\n');
  lines.push(
    renderTable(
      COLUMNS,
      rowsOf(health).map((row) => cells(row)),
      colours,
    ),
  );
  lines.push(...health.findings.filter(isFaulty).flatMap((finding) => faultLines(finding)));
  return lines.join('\n');
}

function placementJson(health: SnapshotHealth): Record<string, unknown> | null {
  const placement = criticalPlacement(health);
  return placement && { ...placement, warning: placementWarning(placement) };
}

function placementLines(health: SnapshotHealth, colours: Colours): string[] {
  const placement = criticalPlacement(health);
  if (placement === null) return [];
  const line = `  critical data: at least ${describePlacement(placement)}`;
  const warning = placementWarning(placement);
  return [warning === null ? line : `${line}; ${colours.yellow(`warning: ${warning}`)}`];
}

/** Pages that are on the guest's own disks only. */
function diskLines({ health, disks = null }: Verification): string[] {
  const pages = health?.manifest.references?.pages;
  if (pages === undefined) return [];
  const where = `  ${formatCount(pages)} pages are on the guest's own disks only`;
  if (disks === null) return [`${where}, and were not read (--disks)`];
  if (disks.skipped !== null) return [`${where}, and were not read: ${plain(disks.skipped)}`];
  if (disks.error !== null) return [`${where}: ${plain(disks.error.message)}`];
  if (disks.lostPages === 0) return [`${where}, and are there, all of them`];
  return [
    `${where}; ${formatCount(disks.lostPages)} of them have changed there: clean, the guest reads them again`,
  ];
}

/**
 * Losses of critical data cannot be repaired, and pages that are given up are gone: both are said in words.
 */
function repairLines({
  replicated,
  rebuilt,
  droppedPages,
  failed,
}: NonNullable<Verification['repair']>): string[] {
  const lines: string[] = [];
  if (replicated.length > 0) lines.push(`  copies made again: ${replicated.join(', ')}`);
  if (rebuilt.length > 0)
    lines.push(`  put together from what was good in several copies: ${rebuilt.join(', ')}`);
  if (droppedPages > 0)
    lines.push(
      `  ${formatCount(droppedPages)} expendable pages were in no copy and are given up; the guest `
        + `reads what it needs of them from its disks`,
    );
  for (const { name, error } of failed)
    lines.push(`  ${name} could not be repaired: ${plain(error.message)}`);
  return lines;
}

function rowsOf({ findings }: SnapshotHealth): Row[] {
  const roles = [...new Set(findings.map(({ role }) => role))];
  return roles.map((role) =>
    rowOf(
      role,
      findings.filter((finding) => finding.role === role),
    ),
  );
}

function rowOf(role: ObjectRole, findings: readonly ObjectFinding[]): Row {
  const sum = (of: (finding: ObjectFinding) => number): number =>
    findings.reduce((total, finding) => total + of(finding), 0);
  const faults = (fault: string) => (finding: ObjectFinding) =>
    finding.condition === 'intact' ? 0 : finding.health.faults.filter((one) => one.fault === fault).length;
  const [corrupt, unreachable] = [faults('corrupt'), faults('unreachable')];
  return {
    class: role,
    critical: findings.some(({ critical }) => critical),
    objects: findings.length,
    bytes: sum(({ object }) => object.bytes),
    bytesRead: sum(({ read, object }) => (read ? object.bytes : 0)),
    goodCopies: Math.min(...findings.map(({ health }) => health.good)),
    wantedCopies: Math.max(...findings.map(({ health }) => health.wanted)),
    // A copy that is there and is not good, or that may be, counts as that and is not missing too.
    missing: sum((finding) =>
      finding.condition === 'intact'
        ? 0
        : Math.max(0, finding.health.wanted - finding.health.good - corrupt(finding) - unreachable(finding)),
    ),
    corrupt: sum(corrupt),
    unreachable: sum(unreachable),
    lostPages: sum(({ lost }) => lost.reduce((pages, frame) => pages + frame.pages, 0)),
  };
}

function cells(row: Row): string[] {
  const count = (value: number): string => (value === 0 ? '' : formatCount(value));
  return [
    row.class,
    String(row.objects),
    formatBytes(row.bytes),
    `${Math.min(row.goodCopies, row.wantedCopies)} of ${row.wantedCopies}`,
    count(row.missing),
    count(row.corrupt),
    count(row.unreachable),
    count(row.lostPages),
    row.critical ? 'critical' : 'expendable',
  ];
}

function isFaulty({ condition }: ObjectFinding): boolean {
  return condition !== 'intact';
}

function faultJson({
  name,
  role,
  critical,
  condition,
  health,
  lost,
}: ObjectFinding): Record<string, unknown> {
  return {
    name,
    class: role,
    critical,
    condition,
    goodCopies: health.good,
    wantedCopies: health.wanted,
    faults: health.faults,
    lostFrames: lost.length,
    lostPages: lost.reduce((sum, { pages }) => sum + pages, 0),
  };
}

function faultLines({ name, health, condition }: ObjectFinding): string[] {
  const where = health.faults.map(
    ({ place, fault, detail }) => `${plain(place)}: ${fault}${detail === fault ? '' : ` (${plain(detail)})`}`,
  );
  return [
    `  ${name}: ${health.good} of ${health.wanted} copies `
      + `good${condition === 'lost' ? ', and some of it in none' : ''}; ${where.join('; ')}`,
  ];
}
