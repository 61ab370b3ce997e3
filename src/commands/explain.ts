// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { renderExplanation } from '../ui/explain.js';
import { MAX_EXPLAINED } from '../reader/page-map.js';
import { explainPages } from '../report/image-report.js';
import { PAGE_BYTES } from '../page-classes.js';

interface Options extends SharedOptions {
  page: string;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Explain why pages of a guest have their class: the fields read, the rule that decided, and the '
        + 'file that a page of the file cache belongs to. Changes nothing.',
    )
    .argument('<image>', 'a libvirt save image')
    .requiredOption(
      '--page <gpa>',
      'guest-physical address, or a range FIRST-LAST of them, hex (0x...) or decimal',
    )
    .action((image: string, options: Options) =>
      cli.run(options, (context) => explain(context, image, options)),
    );
}

async function explain(context: Context, image: string, { page }: Options): Promise<void> {
  const { first, pages } = pageRange(page);
  const explanation = await explainPages(image, first, pages, { signal: context.signal });
  if (explanation.pages.every((shown) => shown.class === null))
    throw new ParsError('missing', `${page} is outside the guest's RAM`, {
      hint: 'the memory map of "pars report --html" shows where RAM lies',
    });
  context.output.json({ image, ...explanation });
  context.output.text(renderExplanation(explanation, context.output.colours));
}

/** "0x1000", "4096-0x3fff": the pages that hold these addresses. */
export function pageRange(text: string): { first: number; pages: number } {
  const [from, to = from, ...more] = text.split('-').map(address);
  if (from === undefined || to === undefined || Number.isNaN(from + to) || more.length > 0 || to < from) {
    throw new ParsError('usage', `"${text}" is not a guest-physical address or range`, {
      hint: 'e.g. --page 0x1f400000, or --page 0x1000-0x3fff',
    });
  }
  const first = Math.floor(from / PAGE_BYTES),
    pages = Math.floor(to / PAGE_BYTES) - first + 1;
  if (pages > MAX_EXPLAINED)
    throw new ParsError('usage', `"${text}" are ${pages} pages`, {
      hint: `at most ${MAX_EXPLAINED} pages are explained at once`,
    });
  return { first, pages };
}

function address(text: string): number {
  const value = /^(0x[0-9a-f]+|[0-9]+)$/i.test(text) ? Number(text) : NaN;
  return value < 2 ** 52 ? value : NaN;
}
