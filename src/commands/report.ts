// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { awaitedElsewhere } from '../system/best-effort.js';
import { isThere } from '../system/absence.js';
import { writeAtomically } from '../system/atomic-file.js';
import type { Cli, Context } from '../cli/context.js';
import { describeFailure, exitCodeOf } from '../cli/failure.js';
import type { SharedOptions } from '../cli/options.js';
import { refuseOtherKind, targetFile } from '../cli/target-file.js';
import { ParsError } from '../errors.js';
import { plain } from '../system/plain-text.js';
import { terminalWidth } from '../ui/terminal-map.js';
import { lookInside, StubFound } from '../report/image-report.js';

import { DEFAULT_INPUTS, type DurabilityInputs } from '../report/durability.js';
import { type ImageReport, type ReportFacts, reportOn } from '../report/report.js';
import { isStoredName } from '../snapshot/snapshot-names.js';
import { reportSources } from '../report/report-sources.js';
import { type ReportOutcome, reportTotal } from '../report/report-summary.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  all?: boolean;
  csv?: boolean;
  saveDir: string;
  html?: string;
  force?: boolean;
  domain?: string;
  topFiles?: boolean;
  map?: boolean;
  disks: number;
  afr: number;
  repairHours: number;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Say what save images hold, class by class, and what each policy would store of them. A dry run: '
        + 'nothing is changed. Several images, or a directory of them, give one line each and a total. '
        + 'With --json, one object for one image, and {"images": [...], "total": {...}} for several.',
    )
    .argument(
      '[image...]',
      'libvirt save images, directories of managed saves (*.save), stubs, or snapshots in the store (a '
        + "name, or a guest's UUID for its latest)",
    )
    .option('--all', 'all managed saves of this host')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images, for --all", DEFAULT_SAVE_DIR)
    .option('--csv', 'a row for each guest')
    .option(
      '--domain <name>',
      'a running domain instead of an image: its memory is read in place, and every figure is an estimate',
    )
    .option('--html <file>', "write one image's report as a self-contained HTML page")
    .option('--force', 'with --html: overwrite a file that is not a report')
    .option('--top-files', 'list the files that hold most of the clean cache')
    .option('--map', 'with --json: include the map of guest memory')
    .option(
      '--disks <n>',
      'for the losses: disks or DataNodes that copies are spread over',
      wholeNumber,
      DEFAULT_INPUTS.disks,
    )
    .option(
      '--afr <percent>',
      'for the losses: share of these disks that die in a year',
      positive,
      100 * DEFAULT_INPUTS.annualFailureRate,
    )
    .option(
      '--repair-hours <hours>',
      'for the losses: time from the death of a disk until its copies exist again',
      positive,
      DEFAULT_INPUTS.repairHours,
    )
    .action((images: string[], options: Options) =>
      cli.run(options, (context) => report(context, images, options)),
    );
}

function positive(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value > 0 && value <= 1e6) return value;
  throw new ParsError('usage', `"${text}" is not a positive number`);
}

function wholeNumber(text: string): number {
  const value = positive(text);
  if (Number.isInteger(value)) return value;
  throw new ParsError('usage', `"${text}" is not an integer`);
}

type Outcome = ReportOutcome & { exitCode: number };

async function report(context: Context, named: readonly string[], options: Options): Promise<number> {
  const { output } = context;
  if (options.csv && output.isJson) throw new ParsError('usage', '--csv and --json exclude each other');
  if (options.domain !== undefined && (named.length > 0 || options.all))
    throw new ParsError('usage', '--domain is about one running domain', {
      hint: 'report on images by themselves',
    });
  const { paths, found } =
    options.domain === undefined
      ? await reportSources(named, options.all ? options.saveDir : null)
      : { paths: [options.domain], found: false };
  const single = paths.length === 1 && !found && !options.csv;
  if (options.html !== undefined && !single)
    throw new ParsError('usage', '--html is about one image', {
      hint: 'name the image; --csv and --json take several',
    });
  const page = options.html === undefined ? null : await pageFile(options.html, options.force ?? false);
  if (options.afr >= 100) throw new ParsError('usage', `--afr ${options.afr}: not all disks die every year`);
  let looking: Promise<Outcome[]> = Promise.resolve([]);
  // The reader works in a process of its own: what prints, and the store, are loaded once it does.
  const started = new Promise<void>((onStart) => {
    looking = lookAtAll(context, paths, { ...options, single, onStart });
  });
  await Promise.race([started, looking]);
  if (single && !output.isJson) await import('../ui/report.js');
  const [warnings, outcomes] = await Promise.all([storeWarnings(context), looking]);
  if (single) await showOne(context, outcomes[0], warnings, page);
  else await showMany(context, outcomes, options.csv ?? false);
  for (const warning of single && outcomes[0] && 'error' in outcomes[0] ? [] : warnings)
    output.note(plain(warning));
  return outcomes.find(({ exitCode }) => exitCode !== 0)?.exitCode ?? 0;
}

interface Look extends Options {
  /** One image is shown by itself. */
  single: boolean;
  onStart: () => void;
}

/** One after another: each look inside uses all cores by itself. */
async function lookAtAll(context: Context, paths: readonly string[], look: Look): Promise<Outcome[]> {
  const progress = paths.length > 1 ? await context.progress() : () => {};
  const total = Math.max(1, paths.length);
  const outcomes: Outcome[] = [];
  for (const path of paths) {
    outcomes.push(await lookAtOne(context, path, look));
    progress({ phase: 'reading', done: outcomes.length, total, unit: 'images' });
  }
  return outcomes;
}

/** One that fails does not keep the others from their turn. A wrong configuration and a signal end all. */
async function lookAtOne(context: Context, path: string, look: Look): Promise<Outcome> {
  const inText = look.single && !context.output.isJson;
  const wants = {
    map: inText || look.map || look.html !== undefined,
    files: look.topFiles || look.html !== undefined,
  };
  const facts = factsOf(context, path, look, Boolean(wants.map || wants.files));
  awaitedElsewhere(facts);
  const policy = await context.policy();
  try {
    const { map, files, ...rest } = await facts;
    const wanted = { ...rest, ...(wants.map && map && { map }), ...(wants.files && files && { files }) };
    return { path, report: reportOn(wanted, policy, inputsOf(look)), exitCode: 0 };
  } catch (error) {
    context.signal.throwIfAborted();
    return { path, error: describeFailure(error, path), exitCode: exitCodeOf(error) };
  }
}

/** A domain, a snapshot in the store, an image; of a stub what the store has of it. */
async function factsOf(
  context: Context,
  path: string,
  { domain, onStart }: Look,
  withMap: boolean,
): Promise<ReportFacts> {
  const { signal } = context;
  if (domain !== undefined) {
    const { lookAtRunning } = await import('../report/running-domain.js');
    return lookAtRunning(path, { signal, onStart });
  }
  if (isStoredName(path) && !(await isThere(path))) return factsInStore(context, path);
  try {
    const { diskReferences } = await context.config();
    const disks = diskReferences && resolve(path).startsWith(`${DEFAULT_SAVE_DIR}/`);
    return await lookInside(path, { signal, withMap, disks, onStart });
  } catch (error) {
    if (!(error instanceof StubFound) || error.snapshot === null || (await context.config()).store === null)
      throw error;
    return factsInStore(context, error.snapshot, path);
  }
}

async function factsInStore(context: Context, name: string, path?: string): Promise<ReportFacts> {
  const { storedFacts } = await import('../report/stored-report.js');
  return storedFacts(await context.store(), name, path);
}

function inputsOf({ disks, afr, repairHours }: Options): DurabilityInputs {
  return { ...DEFAULT_INPUTS, disks, annualFailureRate: afr / 100, repairHours };
}

async function showOne(
  { output }: Context,
  outcome: Outcome | undefined,
  warnings: readonly string[],
  page: PageFile | null,
): Promise<void> {
  if (!outcome) return;
  if ('report' in outcome && page !== null) await page.write(outcome.report);
  output.json(jsonOf(outcome, warnings));
  if ('report' in outcome && page !== null) output.text(`Wrote ${plain(page.path)}.`);
  else if ('report' in outcome)
    output.text(
      (await import('../ui/report.js')).renderReport(
        outcome.report,
        output.colours,
        terminalWidth(process.stdout),
        madeHere(),
      ),
    );
  else if (!output.isJson) output.failure(plain(outcome.error.message), outcome.error.hint);
}

function madeHere(): { host: string; when: Date } {
  return { host: hostname(), when: new Date() };
}

interface PageFile {
  path: string;
  write(report: ImageReport): Promise<void>;
}

/** Where --html writes: a new file, or one that is a report already, unless forced. */
async function pageFile(named: string, force: boolean): Promise<PageFile> {
  const { renderHtml, REPORT_PAGE } = await import('../ui/html/report-html.js');
  const path = await targetFile('--html', named);
  const refuse = async (): Promise<void> =>
    force ? undefined : refuseOtherKind('--html', path, REPORT_PAGE);
  await refuse();
  const write = async (report: ImageReport): Promise<void> => {
    await refuse();
    const { host, when } = madeHere();
    await writeAtomically(path, renderHtml(report, when, host));
  };
  return { path, write };
}

async function showMany(context: Context, outcomes: readonly Outcome[], csv: boolean): Promise<void> {
  const { output } = context;
  const total = reportTotal(outcomes);
  output.json({ images: outcomes.map((outcome) => jsonOf(outcome, [])), total });
  if (csv) return output.text((await import('../ui/report-csv.js')).renderCsv(outcomes));
  const { renderLines } = await import('../ui/report-lines.js');
  output.text(renderLines(outcomes, total, (await context.policy()).name, output.colours));
}

function jsonOf(outcome: Outcome, warnings: readonly string[]): object {
  return 'report' in outcome
    ? { ...outcome.report, warnings }
    : { image: { path: outcome.path }, error: outcome.error };
}

/**
 * What is wrong with the store concerns whoever plans with it; the report itself needs none. A wrong
 * configuration does not pass for that.
 */
async function storeWarnings(context: Context): Promise<string[]> {
  if ((await context.config()).store === null) return [];
  try {
    const { warnings } = await (await context.store()).status();
    return warnings.map((warning) => `store: ${warning}`);
  } catch (error) {
    if (!(error instanceof ParsError) || error.kind === 'usage' || error.kind === 'internal') throw error;
    return [error.message];
  }
}
