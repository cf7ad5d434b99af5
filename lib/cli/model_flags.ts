/** The options of everything that takes weights or a network. */
import { type Command, Option } from 'commander';
import type { Precision } from '../graph/passes/precision.js';
import { decimalNumber, precisionOf, precisionWords, wholeNumber } from './arguments.js';

export interface NetworkFlags {
  readonly network?: string;
  readonly config?: string;
}

/** `--network` and `--config`, which mean the same; two names because people think of one or the other. */
export function addNetworkOptions(command: Command, when: string): Command {
  return command
    .option('--network <name>', `network, official configuration, or JSON configuration file${when}`)
    .addOption(new Option('--config <file>', 'the same as --network').conflicts('network'));
}

/** What official names and weights alone do not say. */
export interface DescriptionFlags extends NetworkFlags {
  readonly classes?: number;
  readonly classesFrom?: string;
  readonly stem?: 'small' | 'large';
  readonly temperature?: number;
}

export interface PrecisionFlags {
  readonly precision?: Precision;
}

export interface ModelFlags extends DescriptionFlags {
  readonly ema?: true;
  readonly strict: boolean;
}

export function addDescriptionOptions(command: Command): Command {
  return addNetworkOptions(command, ', if the weights do not say it')
    .option('--classes <count>', 'classes of that network (default: that of the classifier in the weights)', wholeNumber(1))
    .option('--classes-from <file>', 'names of the classes, one on each line, in the order of the logits')
    .addOption(
      new Option('--stem <kind>', 'first layers of that network (default: as the shapes of the weights tell, else large)').choices([
        'small',
        'large',
      ]),
    )
    .option('--temperature <number>', 'attention temperature of that network (default: 0)', decimalNumber({ least: 0, most: 1 }))
    .addHelpText(
      'after',
      `
A checkpoint of train, and a file that convert wrote with --network, describe their network themselves and refuse --network, --config,
--classes, --stem and --temperature, which are for other weights.`,
    );
}

/** Options of everything that uses weights. */
export function addModelOptions(command: Command): Command {
  return addEmaOption(addDescriptionOptions(command))
    .option('--strict', 'weights and network must have the same tensors', true)
    .option('--no-strict', 'only the shapes must agree: what the weights lack is initialized, what the network lacks is skipped');
}

/** `--precision`, for everything that runs a network. `otherwise` describes the default. */
export function addPrecisionOption(command: Command, otherwise: string): Command {
  const description = `${precisionWords}: of the activations between layers; weights stay float32 (default: ${otherwise})`;
  return command.option('--precision <type>', description, precisionOf);
}

export function addEmaOption(command: Command): Command {
  return command.option('--ema', "the weights' moving average (model_ema) of a .pth checkpoint");
}
