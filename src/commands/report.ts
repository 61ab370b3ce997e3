import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { describeFailure, exitCodeOf, type Failure } from '../cli/failure.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { plain } from '../faces/plain.js';
import { lookInside } from '../image-report.js';
import { DEFAULT_SAVE_DIR } from '../install.js';
import { reportOn } from '../report.js';
import { reportSources } from '../report-sources.js';
import { type ReportOutcome, reportTotal } from '../report-summary.js';

interface Options extends SharedOptions {
  all?: boolean;
  csv?: boolean;
  saveDir: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Say what save images hold, class by class, and what each policy would store of them. A dry run: nothing is changed. ' +
        'Several images, or a directory of them, give one line each and a total. With --json, one object for one image, and {"images": [...], "total": {...}} for several.',
    )
    .argument('[image...]', 'libvirt save images, or directories of managed saves (*.save)')
    .option('--all', 'all managed saves of this host')
    .option('--save-dir <dir>', "libvirt's directory of managed-save images, for --all", DEFAULT_SAVE_DIR)
    .option('--csv', 'a row for each guest')
    .action((images: string[], options: Options) => cli.run(options, (context) => report(context, images, options)));
}

type Outcome = ReportOutcome & { exitCode: number };

async function report(context: Context, named: readonly string[], options: Options): Promise<number> {
  const { output } = context;
  if (options.csv && output.isJson) throw new ParsError('usage', '--csv and --json exclude each other');
  const { paths, found } = await reportSources(named, options.all ? options.saveDir : null);
  const single = paths.length === 1 && !found && !options.csv;
  const [warnings, outcomes] = await Promise.all([storeWarnings(context), lookAtAll(context, paths)]);
  if (single) await showOne(context, outcomes[0], warnings);
  else await showMany(context, outcomes, options.csv ?? false);
  for (const warning of single && outcomes[0] && 'error' in outcomes[0] ? [] : warnings) output.note(plain(warning));
  return outcomes.find(({ exitCode }) => exitCode !== 0)?.exitCode ?? 0;
}

/** One after another: each look inside uses all cores by itself. */
async function lookAtAll(context: Context, paths: readonly string[]): Promise<Outcome[]> {
  const progress = paths.length > 1 ? await context.progress() : () => {};
  const total = Math.max(1, paths.length);
  const outcomes: Outcome[] = [];
  for (const path of paths) {
    outcomes.push(await lookAtOne(context, path));
    progress({ phase: 'reading', done: outcomes.length, total, unit: 'images' });
  }
  return outcomes;
}

/** One that fails does not keep the others from their turn. A wrong configuration and a signal end all. */
async function lookAtOne(context: Context, path: string): Promise<Outcome> {
  // The reader works in a process of its own: everything else is loaded meanwhile.
  const facts = lookInside(path, { signal: context.signal });
  facts.catch(() => {});
  const policy = await context.policy();
  try {
    return { path, report: reportOn(await facts, policy), exitCode: 0 };
  } catch (error) {
    context.signal.throwIfAborted();
    return { path, error: about(path, describeFailure(error)), exitCode: exitCodeOf(error) };
  }
}

async function showOne({ output }: Context, outcome: Outcome | undefined, warnings: readonly string[]): Promise<void> {
  if (!outcome) return;
  output.json(jsonOf(outcome, warnings));
  if ('report' in outcome) output.text((await import('../faces/report.js')).renderReport(outcome.report, output.colours));
  else if (!output.isJson) output.failure(plain(outcome.error.message), outcome.error.hint);
}

async function showMany(context: Context, outcomes: readonly Outcome[], csv: boolean): Promise<void> {
  const { output } = context;
  const total = reportTotal(outcomes);
  output.json({ images: outcomes.map((outcome) => jsonOf(outcome, [])), total });
  if (csv) return output.text((await import('../faces/report-csv.js')).renderCsv(outcomes));
  const { renderLines } = await import('../faces/report-lines.js');
  output.text(renderLines(outcomes, total, (await context.policy()).name, output.colours));
}

function jsonOf(outcome: Outcome, warnings: readonly string[]): object {
  return 'report' in outcome ? { ...outcome.report, warnings } : { image: { path: outcome.path }, error: outcome.error };
}

/** Among several images an error must say which it is about; the reader knows no path. */
function about(path: string, failure: Failure): Failure {
  return failure.message.includes(path) ? failure : { ...failure, message: `${path}: ${failure.message}` };
}

/** What is wrong with the store concerns whoever plans with it; the report itself needs none. */
async function storeWarnings(context: Context): Promise<string[]> {
  if ((await context.config()).store === null) return [];
  try {
    const { warnings } = await (await context.store()).status();
    return warnings.map((warning) => `store: ${warning}`);
  } catch (error) {
    if (error instanceof ParsError && error.kind === 'unreachable') return [error.message];
    throw error;
  }
}
