/** Runs `kernel-warehouse train`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { type CheckpointFile, openCheckpoint } from '../checkpoint/checkpoint_file.js';
import { type ImageDataset, readSplitFolder, type SplitDataset } from '../data/folder.js';
import { KernelWarehouseError } from '../errors.js';
import { classifierNames } from '../models/fitting.js';
import { imageSizeOption, Model, suitableStem } from '../models/model.js';
import type { ModelOptions } from '../models/model_options.js';
import { type Selection, selectModel } from '../models/select.js';
import type { Device } from '../runtime/device.js';
import { type Checkpoint, readDescription, trainingCheckpoint } from '../train/checkpoint.js';
import type { TrainingOptions } from '../train/options.js';
import { type StartingPoint, train } from '../train/training.js';
import { type DeviceFlags, programWords, quoted } from './arguments.js';
import { inWords, noteFallback } from './bfloat16.js';
import { formatCount, formatFields } from './figures.js';
import { FolderLock } from './folder_lock.js';
import { Interruption } from './interruption.js';
import type { NetworkFlags } from './model_flags.js';
import { chosenNetwork, fitNoting, networkOfSettings } from './network_choice.js';
import { openDevice } from './open_device.js';
import { needsNetwork, openWeights } from './trained_model.js';
import { formatOutcome, TrainingDisplay } from './training_display.js';
import { configTraining, differences, type FlatOptions, newRunOptions } from './training_options.js';

export interface TrainFlags
  extends DeviceFlags,
    NetworkFlags,
    Partial<Omit<FlatOptions, 'standardDeviation' | 'beta1' | 'beta2' | 'epsilon'>> {
  readonly output: string;
  readonly resume?: true;
  readonly weights?: string;
  readonly ema?: true;
  readonly stem?: 'small' | 'large';
  readonly std?: [number, number, number];
}

/** What a run trains, and from which start. */
interface RunSetup {
  readonly model: ModelOptions;
  readonly options: TrainingOptions;
  readonly resume?: Checkpoint;
  readonly start?: StartingPoint;
}

export async function runTrain(folder: string, flags: TrainFlags): Promise<void> {
  const checkpointPath = join(flags.output, 'checkpoint.safetensors');
  const bestPath = join(flags.output, 'best.safetensors');
  const existing = [checkpointPath, bestPath].find((path) => existsSync(path));
  if (flags.resume && !existsSync(checkpointPath)) {
    throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `${checkpointPath}: no checkpoint to resume; leave out --resume to start a run`);
  }
  const refuseExisting = (path: string | undefined) => {
    if (flags.resume || path === undefined) return;
    const message = `${path} exists, and a run is never overwritten; give --resume to continue it, or choose another --output`;
    throw new KernelWarehouseError('ERR_KW_CHECKPOINT', message);
  };
  refuseExisting(existing);

  const data = await readSplitFolder(folder);
  await using weights = flags.weights === undefined ? undefined : await openWeights(flags.weights, flags);
  const fresh = flags.resume ? undefined : newRun(flags, data.train, weights);
  using _lock = new FolderLock(flags.output);
  refuseExisting([checkpointPath, bestPath].find((path) => existsSync(path)));
  await using resumed = fresh ? undefined : await openCheckpoint(checkpointPath);
  const run = fresh ?? resumedRun(trainingCheckpoint(resumed as CheckpointFile), flags, data.train);

  using device = openDevice(flags);
  using interruption = new Interruption((signal) => {
    process.stderr.write(`\n${signal}: stopping after this step, then writing ${checkpointPath} (again to end at once)\n`);
  });
  printOpening(run, flags, data, device, checkpointPath);
  noteFallback(run.options.precision);
  using display = new TrainingDisplay(run.options, data.train.samples.length, run.resume?.progress);
  const { history, interrupted } = await train({
    ...run,
    data,
    device,
    checkpointPath,
    bestPath,
    signal: interruption.signal,
    onStep: (report) => display.step(report),
    onValidationBatch: (accuracy, total) => display.validation(accuracy, total),
    onEpoch: (summary) => display.epoch(summary),
  });
  display.clear();

  if (interrupted) {
    console.log(`stopped; continue with: ${resumeCommand(folder, flags)}`);
    process.exitCode = interruption.exitStatus;
    return;
  }
  const { line, isBest } = formatOutcome(history);
  console.log(line);
  console.log(`evaluate with: ${programWords()} eval ${quoted(folder)} --weights ${quoted(isBest ? bestPath : checkpointPath)}`);
}

/** The flags that set training options and were given. */
function optionFlags(flags: TrainFlags): Partial<FlatOptions> {
  const { output: _output, resume: _resume, weights: _weights, ema: _ema, device: _device, threads: _threads, ...others } = flags;
  const { network: _network, config: _config, stem: _stem, std, ...options } = others;
  return { ...options, ...(std === undefined ? {} : { standardDeviation: std }) };
}

function newRun(flags: TrainFlags, { classes }: ImageDataset, weights: CheckpointFile | undefined): RunSetup {
  const { config, model } = chosenNetwork(flags) ?? (weights ? networkOfWeights(weights) : selectModel('kw_resnet18'));
  const configured = configTraining(config);
  if (model.classes !== undefined && model.classes !== classes.length) {
    throw new KernelWarehouseError(
      'ERR_KW_CONFIG',
      `the configuration has num_classes ${model.classes}, but the folder has ${classes.length} classes; change or remove num_classes`,
    );
  }
  // These weights were trained to the end of both schedules. At the first temperatures their attentions would have little or no effect.
  const started = weights ? { ...configured, temperatureEpochs: 0, softmaxTemperatureEpochs: 0 } : configured;
  const options = newRunOptions(started, optionFlags(flags));
  const { imageSize } = options;
  const sized = { ...model, ...imageSizeOption(model.network, imageSize) };
  if (!weights) {
    const stem = flags.stem ?? suitableStem(model.network, imageSize);
    return { model: { ...sized, classes: classes.length, stem }, options };
  }
  const fitted = fineTuning({ ...sized, ...(flags.stem === undefined ? {} : { stem: flags.stem }) }, classes.length, weights);
  return { ...fitted, options };
}

/** What weights say about their network, except for its number of classes. */
function networkOfWeights(file: CheckpointFile): Selection {
  const { model } = readDescription(file) ?? networkOfSettings(file) ?? needsNetwork(file.path);
  const { classes: _classes, ...options } = model;
  return { config: { model: model.network }, model: options };
}

/**
 * The network for `classes` classes that starts from weights, which may have been trained for other classes. Weights that do not fit are
 * refused before any file is made.
 */
function fineTuning(
  { classes: _classes, ...options }: ModelOptions,
  classes: number,
  weights: CheckpointFile,
): Pick<RunSetup, 'model' | 'start'> {
  const fitted = fitNoting(options, weights);
  const before = fitted.classes ?? classes;
  const replaced = before === classes ? [] : classifierNames(fitted, before, classes);
  const model = { ...fitted, classes };
  new Model(model).checkFit(weights, { replaced });
  return { model, start: { tensors: weights, replaced } };
}

function resumedRun(checkpoint: Checkpoint, flags: TrainFlags, { classes }: ImageDataset): RunSetup {
  const asked = optionFlags(flags);
  const problems = differences(checkpoint.options, asked);
  const { stem } = checkpoint.model;
  if (flags.stem !== undefined && flags.stem !== stem) problems.push(`--stem is ${stem} there, ${flags.stem} here`);
  const chosen = chosenNetwork(flags);
  if (chosen) {
    const { model } = chosen;
    // The checkpoint stores this as JSON, so it is compared as JSON. Classes, stem and image size do not come from the network's name.
    const same = (options: ModelOptions) =>
      JSON.parse(JSON.stringify({ ...options, classes: undefined, stem: undefined, imageSize: undefined })) as unknown;
    if (!isDeepStrictEqual(same(model), same(checkpoint.model))) {
      problems.push(`--network is ${checkpoint.model.network} with other options there, ${flags.config ?? flags.network} here`);
    }
  }
  if (problems.length > 0) {
    throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `the checkpoint was made with other options: ${problems.join('; ')}`);
  }
  if (!isDeepStrictEqual(checkpoint.classes, [...classes])) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `the folder's ${classes.length} classes are not the checkpoint's ${checkpoint.classes.length}: ${checkpoint.classes.join(', ')}`,
    );
  }
  return { model: checkpoint.model, options: resumedOptions(checkpoint, asked), resume: checkpoint };
}

function resumedOptions({ options: stored, progress }: Checkpoint, { epochs, precision }: Partial<FlatOptions>): TrainingOptions {
  const options = { ...stored, precision: precision ?? stored.precision };
  if (options.precision !== stored.precision) {
    process.stderr.write(
      `kernel-warehouse: ${options.precision} instead of ${stored.precision} from here on; ` +
        'the result is not that of a run with either precision from the start\n',
    );
  }
  if (epochs === undefined || epochs === options.epochs) return options;
  const begun = progress.epoch + (progress.batch > 0 ? 1 : 0);
  if (epochs < begun) {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `--epochs is ${epochs}, but the checkpoint is already in epoch ${begun}`);
  }
  process.stderr.write(
    `kernel-warehouse: ${epochs} epochs instead of ${options.epochs} change the cosine of the learning rate from here on; ` +
      'the result is not that of a run with either number from the start\n',
  );
  return { ...options, epochs };
}

function printOpening(
  { model, options, resume, start }: RunSetup,
  flags: TrainFlags,
  data: SplitDataset,
  device: Device,
  checkpointPath: string,
): void {
  const { parameters, options: network } = new Model(model);
  const { optimizer, learningRate, epochs, batchSize, imageSize } = options;
  const { train: training, validation } = data;
  const asked = flags.config ?? flags.network;
  const name = asked === undefined || asked === model.network ? model.network : `${model.network} (${asked})`;
  const images = validation
    ? `${formatCount(training.samples.length)} training and ${formatCount(validation.samples.length)} validation images`
    : `${formatCount(training.samples.length)} training images, no validation part`;
  const next = (resume?.progress.epoch ?? 0) + 1;
  const resumed = resume ? (next > epochs ? ', all done before' : `, resumed in epoch ${next}`) : '';
  console.log(
    formatFields({
      network: `${name}, ${formatCount(parameters.count)} parameters, ${network.stem} stem`,
      ...(start ? { weights: `${flags.weights}${describeReplaced(start, network.classes)}` } : {}),
      device: `${device.name}, ${device.threads} threads${inWords(options.precision)}`,
      data: `${images} of ${training.classes.length} classes`,
      schedule:
        `${epochs} ${epochs === 1 ? 'epoch' : 'epochs'} in batches of ${batchSize}, ${imageSize} pixels, ` +
        `${optimizer.kind}, learning rate ${learningRate}${resumed}`,
      checkpoint: checkpointPath,
    }),
  );
}

function describeReplaced({ replaced }: StartingPoint, classes: number): string {
  return replaced.length === 0 ? '' : `, but a new classifier for ${classes} classes: ${replaced.join(', ')}`;
}

function resumeCommand(folder: string, { output, device, threads }: TrainFlags): string {
  const place = [...(device === 'auto' ? [] : ['--device', device]), ...(threads === undefined ? [] : ['--threads', String(threads)])];
  return [programWords(), 'train', quoted(folder), '--output', quoted(output), '--resume', ...place].join(' ');
}
