/** `kernel-warehouse eval`: its command line. eval_run.ts does the work. */
import { Command } from 'commander';
import { addDeviceOptions, wholeNumber } from './arguments.js';
import type { EvalFlags } from './eval_run.js';

export function evalCommand(): Command {
  const command = new Command('eval')
    .summary('measure a trained network on folders of images')
    .description('Measure top-1 and top-5 of a trained network on folders of images.')
    .argument('<data>', 'DATA/<class>/ images, or a folder with train/ and val/, whose val part is used')
    .requiredOption('--weights <file>', 'checkpoint that `train` wrote')
    .option('--batch-size <count>', 'images at a time (default: as in training)', wholeNumber(1, 65_536))
    .option('--json', 'print one JSON object instead of lines');
  return addDeviceOptions(command)
    .addHelpText(
      'after',
      `
Images are prepared as in training's validation; classes are matched by their folders' names.

Examples:
  $ kernel-warehouse eval photos/ --weights runs/photos/best.safetensors
  $ kernel-warehouse eval photos/val --weights runs/photos/best.safetensors --batch-size 64 --json`,
    )
    .action(async (data: string, flags: EvalFlags) => {
      const { runEval } = await import('./eval_run.js');
      await runEval(data, flags);
    });
}
