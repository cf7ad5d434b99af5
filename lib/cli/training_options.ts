/** The options of a run, from defaults, overridden by the configuration file, overridden by the flags. */

import type { NetworkConfig, TrainingField } from '../configurations/configuration.js';
import { KernelWarehouseError } from '../errors.js';
import { defaultTrainingOptions, type TrainingOptions } from '../train/options.js';

type Optimizer = TrainingOptions['optimizer'];

/** Training options with those of the optimizer on the same level, so that each can be overridden and compared alone. */
export interface FlatOptions extends Omit<TrainingOptions, 'optimizer'> {
  readonly optimizer: Optimizer['kind'];
  readonly momentum: number;
  readonly nesterov: boolean;
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

type OptimizerOption = 'momentum' | 'nesterov' | 'beta1' | 'beta2' | 'epsilon';

const optionsOfOptimizer: Readonly<Record<Optimizer['kind'], readonly OptimizerOption[]>> = {
  sgd: ['momentum', 'nesterov'],
  adamw: ['beta1', 'beta2', 'epsilon'],
};

/** They differ from PyTorch's zeros only where the optimizer could not train otherwise. */
const optimizerDefaults = { momentum: 0.9, nesterov: false, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** AdamW diverges at the learning rates that suit SGD. */
export const ADAMW_LEARNING_RATE = 1e-3;

/** The authors' names (`--opt`); their `sgd` is Nesterov's. */
const officialOptimizers: Readonly<Record<string, Partial<FlatOptions>>> = {
  sgd: { optimizer: 'sgd', nesterov: true },
  nesterov: { optimizer: 'sgd', nesterov: true },
  momentum: { optimizer: 'sgd', nesterov: false },
  adamw: { optimizer: 'adamw' },
};

type Translation = (config: NetworkConfig) => Partial<FlatOptions>;

/** What each field of a configuration sets. */
const translations: Readonly<Record<TrainingField, Translation>> = {
  epochs: ({ epochs }) => ({ epochs: epochs as number }),
  batch_size: ({ batch_size: batchSize }) => ({ batchSize: batchSize as number }),
  lr: ({ lr }) => ({ learningRate: lr as number }),
  min_lr: ({ min_lr: minimum }) => ({ minimumLearningRate: minimum as number }),
  warmup_epochs: ({ warmup_epochs: epochs }) => ({ warmupEpochs: epochs as number }),
  weight_decay: ({ weight_decay: weightDecay }) => ({ weightDecay: weightDecay as number }),
  momentum: ({ momentum }) => ({ momentum: momentum as number }),
  opt: ({ opt }) => officialOptimizer(opt as string),
  opt_eps: ({ opt_eps: epsilon }) => ({ epsilon: epsilon as number }),
  opt_betas: ({ opt_betas: betas }) => (betas ? { beta1: betas[0], beta2: betas[1] } : {}),
  smoothing: ({ smoothing }) => ({ labelSmoothing: smoothing as number }),
  temp_epoch: ({ temp_epoch: epochs }) => ({ temperatureEpochs: epochs as number }),
  softmax_temp_epoch: ({ softmax_temp_epoch: epochs }) => ({ softmaxTemperatureEpochs: epochs as number }),
  input_size: ({ input_size: imageSize }) => ({ imageSize: imageSize as number }),
  crop_pct: ({ crop_pct: cropRatio }) => (cropRatio ? { cropRatio } : {}),
  seed: ({ seed }) => ({ seed: seed as number }),
};

function officialOptimizer(name: string): Partial<FlatOptions> {
  const known = officialOptimizers[name.toLowerCase()];
  if (known) return known;
  throw new KernelWarehouseError(
    'ERR_KW_CONFIG',
    `opt: the optimizer '${name}' is not in this version; it has ${Object.keys(officialOptimizers).join(', ')}`,
  );
}

/** What a configuration says about training. Throws ERR_KW_CONFIG for an optimizer that this version does not have. */
export function configTraining(config: NetworkConfig): Partial<FlatOptions> {
  const given = (Object.keys(translations) as TrainingField[]).filter((field) => config[field] !== undefined);
  return Object.assign({}, ...given.map((field) => translations[field](config))) as Partial<FlatOptions>;
}

/** The options of a new run. Throws ERR_KW_INVALID_ARGUMENT for a flag of another optimizer than the chosen one. */
export function newRunOptions(config: Partial<FlatOptions>, flags: Partial<FlatOptions>): TrainingOptions {
  const kind = flags.optimizer ?? config.optimizer ?? defaultTrainingOptions.optimizer.kind;
  for (const [other, names] of Object.entries(optionsOfOptimizer)) {
    const stray = other === kind ? undefined : names.find((name) => flags[name] !== undefined);
    if (stray)
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `--${stray} is an option of ${other}, but the optimizer is ${kind}`);
  }
  const learningRate = kind === 'adamw' ? { learningRate: ADAMW_LEARNING_RATE } : {};
  const { momentum, nesterov, beta1, beta2, epsilon, optimizer, ...rest } = {
    ...defaultTrainingOptions,
    ...optimizerDefaults,
    ...learningRate,
    ...config,
    ...flags,
  };
  return { ...rest, optimizer: kind === 'sgd' ? { kind, momentum, nesterov } : { kind, beta1, beta2, epsilon } };
}

function flatten({ optimizer, ...rest }: TrainingOptions): Partial<FlatOptions> {
  const { kind, ...own } = optimizer;
  return { ...rest, optimizer: kind, ...own };
}

/** The flag that sets an option. */
function flagOf(option: string): string {
  return option === 'standardDeviation' ? '--std' : `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Options that may change when a run is resumed. */
const changeable: readonly string[] = ['epochs', 'precision'];

/** The flags that contradict the options of the run to be resumed, one phrase each; flags that may change are ignored. */
export function differences(run: TrainingOptions, flags: Partial<FlatOptions>): string[] {
  const stored: Readonly<Record<string, unknown>> = flatten(run);
  return Object.entries(flags).flatMap(([option, value]) => {
    if (changeable.includes(option) || value === undefined || String(stored[option]) === String(value)) return [];
    return [`${flagOf(option)} is ${stored[option] === undefined ? 'not used' : stored[option]} there, ${value} here`];
  });
}
