// SPDX-License-Identifier: Apache-2.0
/**
 * The metrics of this host: gathered from the configuration of a command, and kept in the configured file.
 */
import { DEFAULT_SAVE_DIR } from '../libvirt/paths.js';
import { collectMetrics, type Metric } from '../status/metrics.js';
import { openStore } from '../stores/open.js';
import { writeAtomically } from '../system/atomic-file.js';
import { knownHost } from '../system/host.js';
import { METRICS_FILE, renderMetrics } from '../ui/prometheus.js';
import { version } from '../version.js';
import type { Context } from './context.js';
import { refuseOtherKind, targetFile } from './target-file.js';

/** Everybody may read it: it names guests, and holds nothing of theirs. */
const MODE = 0o644;

export async function collectHere(context: Context, saveDir: string): Promise<Metric[]> {
  const { stateDir, watch } = await context.config();
  return collectMetrics({
    stateDir,
    saveDir,
    watch,
    version: version(),
    host: knownHost(),
    openStore: async () => openStore(await context.storeUrl()),
  });
}

/** Writes the configured file; does nothing when none is configured. */
export async function writeMetricsFile(context: Context, saveDir: string): Promise<void> {
  const { metricsFile } = await context.config();
  if (metricsFile === null) return;
  await targetFile('metrics.file', metricsFile);
  const text = renderMetrics(await collectHere(context, saveDir));
  await refuseOtherKind('metrics.file', metricsFile, METRICS_FILE);
  await writeAtomically(metricsFile, text, MODE);
}

/** The same after other work, which matters more: a failure to write is only a warning. */
export async function publishMetrics(context: Context, saveDir = DEFAULT_SAVE_DIR): Promise<void> {
  await writeMetricsFile(context, saveDir).catch((error: unknown) =>
    context.output.warning(`the metrics could not be written: ${(error as Error).message}`),
  );
}
