// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { collectHere, writeMetricsFile } from '../cli/metrics-file.js';
import type { SharedOptions } from '../cli/options.js';
import { ParsError } from '../errors.js';
import { renderMetrics } from '../ui/prometheus.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  saveDir: string;
  write?: boolean;
}

export function register(command: Command, cli: Cli): void {
  command
    .description(
      "Print this host's metrics in Prometheus' text format. They are also written to the file that "
        + "metrics.file names, for node_exporter's textfile collector, whenever the queue has been worked "
        + 'off and after every offload and hydration, failed ones too.',
    )
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .option('--write', 'write them to that file instead')
    .action((options: Options) => cli.run(options, (context) => metrics(context, options)));
}

async function metrics(context: Context, { saveDir, write }: Options): Promise<void> {
  const { metricsFile } = await context.config();
  if (write && metricsFile === null)
    throw new ParsError('usage', 'no file for metrics is configured', {
      hint: 'put "metrics: {file: /var/lib/prometheus/node-exporter/pars.prom}" into the configuration',
    });
  if (write) {
    await writeMetricsFile(context, saveDir);
    return context.output.json({ written: metricsFile });
  }
  const found = await collectHere(context, saveDir);
  context.output.json({ metrics: found });
  context.output.text(renderMetrics(found).trimEnd());
}
