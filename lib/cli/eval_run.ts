/** Runs `kernel-warehouse eval`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageDataset, readSplitFolder } from '../data/folder.js';
import { ImageLoader } from '../data/loader.js';
import { KernelWarehouseError } from '../errors.js';
import type { Model } from '../models/model.js';
import { evaluate } from '../train/evaluate.js';
import { defaultTrainingOptions } from '../train/options.js';
import { validationLoaderOptions } from '../train/training.js';
import type { DeviceFlags } from './arguments.js';
import { inWords, noteFallback } from './bfloat16.js';
import { formatCount, formatFields, formatShare } from './figures.js';
import type { ModelFlags, PrecisionFlags } from './model_flags.js';
import { openDevice } from './open_device.js';
import { formatRate, Progress } from './progress.js';
import { loadTrainedModel, openTrainedModel } from './trained_model.js';

export interface EvalFlags extends DeviceFlags, ModelFlags, PrecisionFlags {
  readonly weights: string;
  readonly batchSize?: number;
  readonly imageSize?: number;
  readonly cropRatio?: number;
  readonly json?: true;
}

export async function runEval(folder: string, flags: EvalFlags): Promise<void> {
  await using trained = await openTrainedModel(flags.weights, flags, flags.imageSize ?? defaultTrainingOptions.imageSize);
  const { temperature, softmaxTemperature, model } = trained;
  const found = await readEvaluationFolder(folder);
  const classes = trained.classes ?? foldersAsClasses(found, model, folder);
  const dataset = withClassesOf(found, classes, folder);
  const preparation = validationLoaderOptions(trained.options ?? defaultTrainingOptions, flags.batchSize);
  const { imageSize = trained.options?.imageSize ?? model.options.imageSize, cropRatio = preparation.cropRatio } = flags;
  const loader = new ImageLoader(dataset, { ...preparation, imageSize, ...(cropRatio === undefined ? {} : { cropRatio }) });

  using device = openDevice(flags);
  using instance = await loadTrainedModel(trained, device, flags);
  noteFallback(instance.precision);
  const images = dataset.samples.length;
  const begun = performance.now();
  using bar = new Progress({ label: 'eval', total: images, transient: true });
  const { top1, top5 } = await evaluate(instance, loader, {
    imageSize,
    temperature,
    softmaxTemperature,
    onBatch: (accuracy) => bar.update(accuracy.count, { 'top-1': formatShare(accuracy.top1, accuracy.count) }),
  });
  bar.stop();
  const seconds = (performance.now() - begun) / 1000;

  if (flags.json) {
    const result = {
      weights: flags.weights,
      network: model.network,
      precision: instance.precision,
      images,
      top1: top1 / images,
      top5: top5 / images,
    };
    console.log(
      JSON.stringify({ ...result, seconds, imagesPerSecond: images / seconds, device: device.name, threads: device.threads }, null, 2),
    );
    return;
  }
  console.log(
    formatFields({
      network: `${model.network}, ${classes.length} classes, ${imageSize} pixels${inWords(instance.precision)}`,
      device: `${device.name}, ${device.threads} threads`,
      images: formatCount(images),
      'top-1': formatShare(top1, images),
      'top-5': formatShare(top5, images),
      'images/s': formatRate(images / seconds),
    }),
  );
}

/** The validation part of a split folder, or the whole folder of classes. */
async function readEvaluationFolder(folder: string): Promise<ImageDataset> {
  const { train, validation } = await readSplitFolder(folder);
  if (!validation && existsSync(join(folder, 'train'))) {
    const message = `${folder} has train but no val; to measure on the training images, give ${join(folder, 'train')}`;
    throw new KernelWarehouseError('ERR_KW_DATA', message);
  }
  return validation ?? train;
}

/** The classes of a network whose weights do not name them: the folders in the order of their names, if there are as many. */
function foldersAsClasses({ classes }: ImageDataset, model: Model, folder: string): readonly string[] {
  const { classes: count } = model.options;
  if (classes.length === count) return classes;
  throw new KernelWarehouseError(
    'ERR_KW_DATA',
    `${folder} has ${classes.length} classes, and the network ${count}; the weights do not name its classes, so give their names with --classes-from`,
  );
}

/** The same images, with classes numbered as in the network. */
function withClassesOf({ classes, samples }: ImageDataset, known: readonly string[], folder: string): ImageDataset {
  const places = classes.map((name) => known.indexOf(name));
  const unknown = [...new Set(samples.map(({ target }) => target))]
    .filter((target) => places[target] === -1)
    .map((target) => classes[target]);
  if (unknown.length > 0) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${folder}: the network knows no class ${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ', ...' : ''}; ` +
        `it knows ${known.join(', ')}`,
    );
  }
  return { classes: known, samples: samples.map(({ image, target }) => ({ image, target: places[target] as number })) };
}
