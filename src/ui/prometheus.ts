// SPDX-License-Identifier: Apache-2.0
/** Metrics in Prometheus' text format, as node_exporter's textfile collector reads it. */
import type { Metric, Sample } from '../status/metrics.js';

/** What renderMetrics writes, told from other files. */
export const METRICS_FILE = {
  name: 'a file of metrics that pars wrote',
  isOne: (head: string): boolean => head.startsWith('# HELP pars_'),
  hint: 'name another file in the configuration, or move this one away',
};

/** Metrics without a sample are left out. */
export function renderMetrics(metrics: readonly Metric[]): string {
  return metrics
    .filter(({ samples }) => samples.length > 0)
    .map(render)
    .join('');
}

function render({ name, type, help, samples }: Metric): string {
  const lines = samples.map((sample) => `${name}${labelsOf(sample)} ${sample.value}`);
  return [
    `# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`,
    `# TYPE ${name} ${type}`,
    ...lines,
    '',
  ].join('\n');
}

function labelsOf({ labels }: Sample): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escape(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

/** A guest's name may hold anything; what is not text becomes U+FFFD, as the format wants UTF-8. */
function escape(value: string): string {
  return Buffer.from(value)
    .toString()
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('\n', '\\n');
}
