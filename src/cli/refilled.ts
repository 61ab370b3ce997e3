// SPDX-License-Identifier: Apache-2.0
/** What a command says of a stub that it has refilled. */
import type { Hydrated } from '../lifecycle/hydrate.js';
import { plain } from '../system/plain-text.js';
import type { Output } from '../ui/output.js';
import { formatBytes, formatCount } from '../ui/units.js';
import type { Answer } from './each-image.js';

export function answerRefilled(output: Output, done: Hydrated): Answer {
  const { image, hydrated, manifest, bytes, losses } = done;
  return {
    json: {
      image,
      hydrated,
      snapshot: manifest?.snapshot ?? null,
      bytes,
      pagesLostByPolicy: losses.byPolicy,
      pagesLostUnexpectedly: losses.unexpected,
      pagesRecovered: losses.recovered,
    },
    say: () => tell(output, done),
  };
}

function tell(output: Output, { image, hydrated, manifest, bytes, losses }: Hydrated): void {
  if (!hydrated) return output.text(`${plain(image)} is not a stub: nothing to do.`);
  output.text(`${plain(image)} is an image again, ${formatBytes(bytes)}, from ${manifest?.snapshot ?? ''}.`);
  if (losses.byPolicy > 0)
    output.text(
      `${formatCount(losses.byPolicy)} expendable pages were not stored; the guest reads what it needs `
        + `of them from its disks.`,
    );
  if (losses.unexpected > 0)
    output.warning(
      `${formatCount(losses.unexpected)} expendable pages had no readable copy left and were `
        + `recovered; the guest does without them, but look at the store: pars verify`,
    );
}
