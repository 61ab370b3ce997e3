import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { describeFailure, exitCodeOf, type Failure } from '../cli/failure.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { plain } from '../faces/plain.js';
import { lookInside } from '../image-report.js';
import { reportOn } from '../report.js';

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Say what save images hold, class by class, and what each policy would store of them. A dry run: nothing is changed. ' +
        'With --json, one object for one image, and {"images": [...]} for several.',
    )
    .argument('<image...>', 'libvirt save images')
    .action((images: string[], options: SharedOptions) => cli.run(options, (context) => report(context, images)));
}

interface Outcome {
  json: object;
  exitCode: number;
}

async function report(context: Context, images: readonly string[]): Promise<number> {
  const outcomes: Outcome[] = [];
  for (const [i, path] of images.entries()) {
    if (i > 0) context.output.text('');
    outcomes.push(await reportOne(context, path));
  }
  context.output.json(outcomes.length === 1 ? outcomes[0]?.json : { images: outcomes.map(({ json }) => json) });
  return outcomes.find(({ exitCode }) => exitCode !== 0)?.exitCode ?? 0;
}

/** One that fails does not keep the others from their turn. A wrong configuration and a signal end all. */
async function reportOne(context: Context, path: string): Promise<Outcome> {
  // The reader works in a process of its own: everything else is loaded meanwhile.
  const facts = lookInside(path, { signal: context.signal });
  facts.catch(() => {});
  const [policy, warnings, { renderReport }] = await Promise.all([context.policy(), storeWarnings(context), import('../faces/report.js')]);
  try {
    const result = reportOn(await facts, policy);
    context.output.text(renderReport(result, context.output.colours));
    for (const warning of warnings) context.output.note(plain(warning));
    return { json: { ...result, warnings }, exitCode: 0 };
  } catch (error) {
    context.signal.throwIfAborted();
    const failure = about(path, describeFailure(error));
    if (!context.output.isJson) context.output.failure(plain(failure.message), failure.hint);
    return { json: { image: { path }, error: failure }, exitCode: exitCodeOf(error) };
  }
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
