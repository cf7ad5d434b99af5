/** `kernel-warehouse bench`: its command line. bench_run.ts does the work. */
import { Command } from 'commander';
import { addDeviceOptions, decimalNumber, wholeNumber } from './arguments.js';
import type { BenchFlags } from './bench_run.js';

export function benchCommand(): Command {
  const command = new Command('bench')
    .description('Time networks in interleaved rounds; the ratio is to a large float32 matrix product timed in the same rounds.')
    .argument('[networks...]', 'networks, official configurations or configuration files', ['resnet18', 'kw1x_resnet18'])
    .option('--batch-size <n>', 'images of one run', wholeNumber(1), 8)
    .option('--image-size <pixels>', 'height and width', wholeNumber(1), 224)
    .option('--training', 'a training step instead of inference', false)
    .option('--rounds <n>', 'counted rounds, after one that is not', wholeNumber(1), 5)
    .option('--seconds <s>', 'least time of each network in each round', decimalNumber({ above: 0 }), 1)
    .option('--layers', 'list where the time goes, step by step', false)
    .option('--json [file]', 'print the figures as JSON, or write them to a file')
    .addHelpText('after', '\nExample:\n  kernel-warehouse bench resnet18 kw1x_resnet18 --batch-size 8 --layers')
    .action(async (networks: string[], flags: BenchFlags) => {
      const { runBench } = await import('./bench_run.js');
      await runBench(networks, flags);
    });
  return addDeviceOptions(command);
}
