// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import { writeAtomically } from '../system/atomic-file.js';
import type { Cli, Context } from '../cli/context.js';
import type { SharedOptions } from '../cli/options.js';
import { refuseOtherKind, targetFile } from '../cli/target-file.js';
import { ParsError } from '../errors.js';
import { METRICS_FILE, renderMetrics } from '../ui/prometheus.js';
import { knownHost } from '../system/host.js';

import { collectMetrics, type Metric } from '../status/metrics.js';
import { openStore } from '../stores/open.js';
import { version } from '../version.js';
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';

interface Options extends SharedOptions {
  saveDir: string;
  write?: boolean;
}

/** Everybody may read it: it names guests, and holds nothing of theirs. */
const MODE = 0o644;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      "Print what monitoring wants to know of this host, in Prometheus' text format. The same is "
        + "written to the file of metrics.file, for node_exporter's textfile collector, whenever the queue "
        + 'was worked off, and after every offload and hydration, also one that failed.',
    )
    .option('--save-dir <dir>', "libvirt's directory of managed-save images", DEFAULT_SAVE_DIR)
    .option('--write', 'write the file of metrics.file instead')
    .action((options: Options) => cli.run(options, (context) => metrics(context, options)));
}

async function metrics(context: Context, { saveDir, write }: Options): Promise<void> {
  if (write && (await context.config()).metricsFile === null)
    throw new ParsError('usage', 'no file for metrics is configured', {
      hint: 'put "metrics: {file: /var/lib/prometheus/node-exporter/pars.prom}" into the configuration',
    });
  if (write) return publish(context, saveDir);
  const found = await collect(context, saveDir);
  context.output.json({ metrics: found });
  context.output.text(renderMetrics(found).trimEnd());
}

/**
 * Writes the configured file, if there is one. A failure to do so is a remark: what was worked on matters
 * more.
 */
export async function publishMetrics(context: Context, saveDir = DEFAULT_SAVE_DIR): Promise<void> {
  await publish(context, saveDir).catch((error: unknown) =>
    context.output.warning(`the metrics could not be written: ${(error as Error).message}`),
  );
}

async function publish(context: Context, saveDir: string): Promise<void> {
  const { metricsFile } = await context.config();
  if (metricsFile === null) return;
  await targetFile('metrics.file', metricsFile);
  const text = renderMetrics(await collect(context, saveDir));
  await refuseOtherKind('metrics.file', metricsFile, METRICS_FILE);
  await writeAtomically(metricsFile, text, MODE);
}

async function collect(context: Context, saveDir: string): Promise<Metric[]> {
  const { stateDir } = await context.config();
  return collectMetrics({
    stateDir,
    saveDir,
    version: version(),
    host: knownHost(),
    openStore: async () => openStore(await context.storeUrl()),
  });
}
