// SPDX-License-Identifier: Apache-2.0
/** Many reports in one look: one line a guest and a total, from the same model as the full report. */
import { PAGE_BYTES, PAGE_CLASSES, type PageClass } from '../page-classes.js';
import type { ImageReport } from './report.js';

/** What became of one image: its report, or why there is none. */
export type ReportOutcome =
  | { path: string; report: ImageReport }
  | { path: string; error: { kind: string; message: string; hint: string | null } };

export interface ReportTotal {
  /** Images that could be reported on, and those that could not. */
  guests: number;
  failed: number;
  imageBytes: number;
  ramBytes: number;
  criticalBytes: number;
  expendableBytes: number;
  /** By policy that every report has: bytes over all copies, before compression. */
  policies: Record<string, number>;
}

/** Bytes of the image that the guest could lose, or could not (what belongs to no page is critical). */
export function bytesByFate({ classes, skeleton }: ImageReport): { critical: number; expendable: number } {
  const sum = (wanted: boolean): number =>
    PAGE_CLASSES.filter((name: PageClass) => classes[name].expendable === wanted).reduce(
      (bytes, name) => bytes + classes[name].rawBytes,
      0,
    );
  return { critical: sum(false) + skeleton.rawBytes, expendable: sum(true) };
}

/** What the guest's own disks hold of it; null when nobody compared. */
export function bytesOnDisks({ onDisks }: ImageReport): number | null {
  if (onDisks === undefined) return null;
  return PAGE_BYTES * PAGE_CLASSES.reduce((pages, name) => pages + onDisks[name], 0);
}

export function reportTotal(outcomes: readonly ReportOutcome[]): ReportTotal {
  const reports = outcomes.flatMap((outcome) => ('report' in outcome ? [outcome.report] : []));
  const sum = (value: (report: ImageReport) => number): number =>
    reports.reduce((total, report) => total + value(report), 0);
  const shared = Object.keys(reports[0]?.policies ?? {}).filter((name) =>
    reports.every(({ policies }) => name in policies),
  );
  return {
    guests: reports.length,
    failed: outcomes.length - reports.length,
    imageBytes: sum(({ image }) => image.bytes),
    ramBytes: sum(({ ram }) => ram.pages * ram.pageSize),
    criticalBytes: sum((report) => bytesByFate(report).critical),
    expendableBytes: sum((report) => bytesByFate(report).expendable),
    policies: Object.fromEntries(
      shared.map((name) => [name, sum(({ policies }) => policies[name]?.storedBytes ?? 0)]),
    ),
  };
}
