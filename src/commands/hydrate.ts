// SPDX-License-Identifier: Apache-2.0
import type { Command } from 'commander';
import type { Cli, Context } from '../cli/context.js';
import { eachImage } from '../cli/each-image.js';
import { publishMetrics } from '../cli/metrics-file.js';
import { refuseNoImage } from '../cli/named-image.js';
import type { SharedOptions } from '../cli/options.js';
import { answerRefilled } from '../cli/refilled.js';
import { thisHost } from '../system/host.js';
import { realPathOf } from '../system/real-path.js';
import { hydrateAsJob } from '../queue/image-job.js';
import { StubRegistry } from '../image/stub-registry.js';

interface Options extends SharedOptions {
  force?: boolean;
  acceptChangedDisks?: boolean;
}

const LOCK_WAIT_MS = 10_000;

export function register(command: Command, cli: Cli): void {
  command
    .description(
      'Turn stubs back into images, in place. If interrupted, the file is still a stub. Does nothing '
        + 'to an image that is not a stub. The queue leaves the image alone until its guest is saved again; '
        + 'to refill one ahead of a start use "pars wake", which takes the guest. With --json, one object '
        + 'for one image, and {"images": [...]} for several.',
    )
    .argument('<image...>', 'stubs')
    .option('--force', 'even though the guest was started since, or another host has resumed it')
    .option('--accept-changed-disks', "even though the guest's disks were written to since")
    .action((images: string[], options: Options) =>
      cli.run(options, (context) => hydrateAll(context, images, options)),
    );
}

async function hydrateAll(context: Context, images: string[], options: Options): Promise<number> {
  const { stateDir, acceptUncomparedDisks } = await context.config();
  const place = {
    store: () => context.store({ toResume: true }),
    host: thisHost(),
    registry: new StubRegistry(stateDir),
  };
  try {
    return await eachImage(context, images, async (image) => {
      const path = await realPathOf(image);
      await refuseNoImage(path, context.signal);
      const done = await hydrateAsJob(path, place, {
        stateDir,
        holdMs: null,
        force: options.force ?? false,
        acceptChangedDisks: options.acceptChangedDisks ?? false,
        acceptUncomparedDisks,
        lockWaitMs: LOCK_WAIT_MS,
        signal: context.signal,
        onProgress: await context.progress(),
      });
      return answerRefilled(context.output, done);
    });
  } finally {
    await publishMetrics(context);
  }
}
