/** Weights from a file, with everything needed to use them. */
import { readFileSync } from 'node:fs';
import { type CheckpointFile, openCheckpoint } from '../checkpoint/checkpoint_file.js';
import { KernelWarehouseError } from '../errors.js';
import { ModelInstance } from '../models/instance.js';
import { describeMisfit } from '../models/load_report.js';
import { imageSizeOption, Model } from '../models/model.js';
import type { ModelOptions } from '../models/model_options.js';
import type { Device } from '../runtime/device.js';
import { type Description, readDescription } from '../train/checkpoint.js';
import type { TrainingOptions } from '../train/options.js';
import type { DescriptionFlags, ModelFlags, PrecisionFlags } from './model_flags.js';
import { chosenNetwork, fitNoting, networkOfSettings } from './network_choice.js';

export interface TrainedModel extends AsyncDisposable {
  readonly model: Model;
  /** Names of the classes; undefined if they are unknown. */
  readonly classes: readonly string[] | undefined;
  readonly temperature: number;
  readonly softmaxTemperature: number;
  /** How it was trained; undefined if the file does not say. */
  readonly options: TrainingOptions | undefined;
  readonly file: CheckpointFile;
  readonly strict: boolean;
}

/** Opens weights in either format, or their moving average if that is asked for. */
export function openWeights(path: string, { ema }: { readonly ema?: true }): Promise<CheckpointFile> {
  return openCheckpoint(path, ema ? { weights: 'model_ema' } : {});
}

/**
 * Opens weights and finds out which network they belong to: from the file, the flags, or the settings of the script that wrote it.
 * @param imageSize of the images to come; needed for networks with position embeddings whose shapes do not tell it
 * @throws ERR_KW_CHECKPOINT for another kind of file; ERR_KW_INVALID_ARGUMENT if the flags are missing, or are given although the file
 *   describes itself.
 */
export async function openTrainedModel(path: string, flags: ModelFlags, imageSize?: number): Promise<TrainedModel> {
  const file = await openWeights(path, flags);
  try {
    const description = describeWeights(file, flags, imageSize) ?? needsNetwork(path);
    const { model, classes, temperature, softmaxTemperature = 1, options } = description;
    const { strict } = flags;
    const close = () => file.close();
    return { model: new Model(model), classes, temperature, softmaxTemperature, options, file, strict, [Symbol.asyncDispose]: close };
  } catch (error) {
    await file.close();
    throw error;
  }
}

export function needsNetwork(path: string): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${path} does not say which network it belongs to; give --network or --config`);
}

/** What is known about the weights in a file; undefined if neither it nor the flags name a network. */
export function describeWeights(file: CheckpointFile, flags: DescriptionFlags, imageSize?: number): Description | undefined {
  const described = readDescription(file);
  if (described) {
    const known = [
      ['network', 'config', 'classes', 'stem', 'temperature'] as const,
      described.classes ? (['classesFrom'] as const) : [],
    ].flat();
    const given = known.filter((name) => flags[name] !== undefined);
    if (given.length > 0) {
      const names = given.map((name) => (name === 'classesFrom' ? '--classes-from' : `--${name}`)).join(', ');
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${file.path} describes its network itself; leave out ${names}`);
    }
    return described.classes ? described : { ...described, ...classNames(described.model, flags) };
  }
  const selection = chosenNetwork(flags) ?? networkOfSettings(file);
  if (!selection) return undefined;
  const { classes, stem, temperature = 0 } = flags;
  const asked: ModelOptions = {
    ...selection.model,
    ...(classes === undefined ? {} : { classes }),
    ...(stem === undefined ? {} : { stem }),
  };
  const model = { ...(imageSize === undefined ? {} : imageSizeOption(selection.model.network, imageSize)), ...fitNoting(asked, file) };
  return { model, temperature, ...classNames(model, flags) };
}

/** The lines of `--classes-from`. Throws ERR_KW_DATA unless there is one for each class. */
function classNames(options: ModelOptions, { classesFrom }: DescriptionFlags): Pick<Description, 'classes'> {
  if (classesFrom === undefined) return {};
  const fail = (problem: string, cause?: unknown): never => {
    throw new KernelWarehouseError('ERR_KW_DATA', `${classesFrom}: ${problem}`, { cause });
  };
  let text: string;
  try {
    text = readFileSync(classesFrom, 'utf8');
  } catch (error) {
    return fail(`cannot be read: ${(error as Error).message}`, error);
  }
  const classes = text.trimEnd().split(/\r?\n/);
  const { classes: count } = new Model(options).options;
  return classes.length === count ? { classes } : fail(`has ${classes.length} names, but the network has ${count} classes`);
}

/** The model with its weights on a device; set the temperatures with `setControls`. */
export async function loadTrainedModel(
  { model, file, strict }: TrainedModel,
  device: Device,
  { precision = 'float32' }: PrecisionFlags,
): Promise<ModelInstance> {
  const instance = new ModelInstance(model, device, { precision });
  try {
    if (!strict) await instance.initialize(0);
    const misfit = describeMisfit(await instance.load(file, { strict }));
    if (misfit !== undefined)
      process.stderr.write(`kernel-warehouse: ${file.path} is used although it does not fit ${model.network}: ${misfit}\n`);
    return instance;
  } catch (error) {
    instance.dispose();
    throw error;
  }
}
