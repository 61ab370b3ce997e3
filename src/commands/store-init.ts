import type { Command } from 'commander';
import type { Cli } from '../cli/context.js';
import { ParsError } from '../errors.js';
import type { SharedOptions } from '../cli/options.js';

export function register(command: Command, cli: Cli): void {
  command.action((options: SharedOptions) =>
    cli.run(options, async () => {
      throw new ParsError('internal', 'not built yet');
    }),
  );
}
