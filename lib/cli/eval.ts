/** `kernel-warehouse eval`: its command line. eval_run.ts does the work. */
import { Command } from 'commander';
import { addDeviceOptions, decimalNumber, wholeNumber } from './arguments.js';
import type { EvalFlags } from './eval_run.js';
import { addModelOptions, addPrecisionOption } from './model_flags.js';

export function evalCommand(): Command {
  const command = new Command('eval')
    .summary('measure a trained network on folders of images')
    .description('Measure top-1 and top-5 of a trained network on folders of images.')
    .argument('<data>', 'DATA/<class>/ images, or a folder with train/ and val/, whose val part is used')
    .requiredOption('--weights <file>', 'checkpoint of `train`, safetensors file, or .pth with official names')
    .option('--batch-size <count>', 'images at a time (default: as in training, or 32)', wholeNumber(1, 65_536))
    .option(
      '--image-size <pixels>',
      "height and width of the network's input (default: as in training, that of position embeddings, or 224)",
      wholeNumber(8, 4096),
    )
    .option(
      '--crop-ratio <number>',
      'share of the image that the central crop keeps (default: as in training, or 0.875)',
      decimalNumber({ above: 0, most: 1 }),
    )
    .option('--json', 'print one JSON object instead of lines');
  addPrecisionOption(command, 'float32');
  return addDeviceOptions(addModelOptions(command))
    .addHelpText(
      'after',
      `
Images are prepared as for validation during training, or as usual for ImageNet. Classes are matched by the names of their folders. If neither
the weights nor --classes-from name them, the classes are the folders in the order of their names, as for ImageNet.

Examples:
  $ kernel-warehouse eval photos/ --weights runs/photos/best.safetensors
  $ kernel-warehouse eval photos/val --weights runs/photos/best.safetensors --batch-size 64 --json
  $ kernel-warehouse eval imagenet/val --weights kw1x_resnet18.pth --config kw1x_resnet18`,
    )
    .action(async (data: string, flags: EvalFlags) => {
      const { runEval } = await import('./eval_run.js');
      await runEval(data, flags);
    });
}
