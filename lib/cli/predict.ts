/** `kernel-warehouse predict`: its command line. predict_run.ts does the work. */
import { Command } from 'commander';
import { addDeviceOptions, wholeNumber } from './arguments.js';
import { addModelOptions, addPrecisionOption } from './model_flags.js';
import type { PredictFlags } from './predict_run.js';

export function predictCommand(): Command {
  const command = new Command('predict')
    .summary('classify image files or a NumPy array')
    .description('Classify image files, or the samples of a NumPy array.')
    .argument('[images...]', 'PNG or JPEG files')
    .requiredOption('--weights <file>', 'checkpoint of `train`, safetensors file, or .pth with official names')
    .option('--input <file.npy>', 'float32 [N, 3, H, W], normalised already, instead of image files')
    .option('--output <file.npy>', 'where to write the logits, float32 [N, classes]')
    .option('--top <count>', 'classes to print for each sample', wholeNumber(1), 5)
    .option('--batch-size <count>', 'samples at a time', wholeNumber(1, 65_536), 32)
    .option('--image-size <pixels>', 'of image files (default: as in training, that of position embeddings, or 224)', wholeNumber(8, 4096))
    .option('--json', 'print one JSON array instead of lines');
  addPrecisionOption(command, 'float32');
  return addDeviceOptions(addModelOptions(command))
    .addHelpText(
      'after',
      `
Examples:
  $ kernel-warehouse predict --weights runs/photos/best.safetensors cat.jpg dog.jpg --top 3
  $ kernel-warehouse predict --weights runs/photos/best.safetensors --input x.npy --output logits.npy
  $ kernel-warehouse predict --weights kw1x_resnet18.pth --config kw1x_resnet18 --input x.npy --output logits.npy`,
    )
    .action(async (images: string[], flags: PredictFlags, verb: Command) => {
      if (images.length > 0 && flags.input !== undefined) verb.error('error: give image files or --input, not both');
      if (images.length === 0 && flags.input === undefined) verb.error('error: give image files, or --input with a .npy file');
      const { runPredict } = await import('./predict_run.js');
      await runPredict(images, flags);
    });
}
