/** `kernel-warehouse train`: its command line. train_run.ts does the work. */
import { Command, Option } from 'commander';
import { addDeviceOptions, decimalNumber, threeNumbers, wholeNumber } from './arguments.js';
import { addEmaOption, addNetworkOptions, addPrecisionOption } from './model_flags.js';
import type { TrainFlags } from './train_run.js';

export function trainCommand(): Command {
  const command = new Command('train')
    .summary('train a network on folders of images')
    .description(
      'Train a network on folders of images: DATA/train/<class>/ and DATA/val/<class>/, or DATA/<class>/ without validation. Writes\n' +
        'checkpoint.safetensors after every epoch and, with validation, best.safetensors whenever its top-1 is better than before.',
    )
    .argument('<data>', 'folder of images')
    .requiredOption('--output <dir>', 'folder for the checkpoints; made if missing, never overwritten')
    .option('--resume', 'continue from the checkpoint in the output folder, with its options')
    .option('--weights <file>', 'start from these weights (safetensors or .pth), with a new classifier if the number of classes differs')
    .addOption(
      new Option('--stem <kind>', 'first layers (default: small for images up to 64 pixels, else large)').choices(['small', 'large']),
    )
    .option('--epochs <count>', 'passes over the images (default: 100)', wholeNumber(1, 1_000_000))
    .option('--batch-size <count>', 'images in a step (default: 32)', wholeNumber(1, 65_536))
    .option('--image-size <pixels>', "height and width of the network's input (default: 224)", wholeNumber(8, 4096))
    .option('--learning-rate <number>', 'after the warm-up (default: 0.05; with adamw 0.001)', decimalNumber({ above: 0 }))
    .option('--minimum-learning-rate <number>', 'at the end of the cosine (default: 0)', decimalNumber({ least: 0 }))
    .option('--warmup-epochs <number>', 'epochs in which the learning rate grows from 0 (default: 0)', decimalNumber({ least: 0 }))
    .option('--weight-decay <number>', 'of tensors with more than one dimension (default: 0.0001)', decimalNumber({ least: 0 }))
    .addOption(new Option('--optimizer <name>', '(default: sgd)').choices(['sgd', 'adamw']))
    .option('--momentum <number>', 'of sgd (default: 0.9)', decimalNumber({ least: 0, below: 1 }))
    .option('--nesterov', "Nesterov's momentum, of sgd")
    .option('--label-smoothing <number>', '(default: 0)', decimalNumber({ least: 0, below: 1 }))
    .option(
      '--temperature-epochs <number>',
      'epochs until the attention temperature is 0 (default: 10, or 0 with --weights)',
      decimalNumber({ least: 0 }),
    )
    .option(
      '--softmax-temperature-epochs <number>',
      'epochs in which the softmax temperature of DY-Conv and ODConv falls from 30 to 1 (default: 10, or 0 with --weights)',
      decimalNumber({ least: 0 }),
    )
    .addOption(
      new Option('--augmentation <kind>', 'random changes of training images (default: photo)').choices(['none', 'shift', 'photo']),
    )
    .option(
      '--crop-ratio <number>',
      'share of the image that the central crop keeps (default: 0.875)',
      decimalNumber({ above: 0, most: 1 }),
    )
    .option('--mean <r,g,b>', "of the pixels in 0..1 (default: ImageNet's)", threeNumbers())
    .option('--std <r,g,b>', "standard deviation of the pixels (default: ImageNet's)", threeNumbers({ above: 0 }))
    .option('--seed <number>', 'of initial values, order and random changes (default: 0)', wholeNumber(0, 0x7fffffff));
  addPrecisionOption(command, 'float32, or that of the resumed run');
  return addDeviceOptions(addEmaOption(addNetworkOptions(command, ' (default: as the weights say, or kw_resnet18)')))
    .addHelpText(
      'after',
      `
A configuration file gives defaults; flags override them. Ctrl-C stops after the current step, writes the checkpoint and exits with
130; --resume then computes the same numbers as an uninterrupted run, unless --epochs or --precision has changed.

Examples:
  $ kernel-warehouse train photos/ --output runs/photos --network kw1x_resnet18 --epochs 90 --batch-size 64
  $ kernel-warehouse train digits/ --output runs/digits --image-size 32 --augmentation shift --epochs 10
  $ kernel-warehouse train digits/ --output runs/digits --resume
  $ kernel-warehouse train flowers/ --output runs/flowers --weights kw1x_resnet18.pth --config kw1x_resnet18 --learning-rate 0.005`,
    )
    .action(async (data: string, flags: TrainFlags, verb: Command) => {
      if (flags.resume && flags.weights !== undefined)
        verb.error('error: --resume continues with the weights of its run; leave out --weights');
      if (flags.ema && flags.weights === undefined) verb.error('error: --ema chooses among the weights of --weights, which is missing');
      const { runTrain } = await import('./train_run.js');
      await runTrain(data, flags);
    });
}
