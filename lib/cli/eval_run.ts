/** What `kernel-warehouse eval` does. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type ImageDataset, readSplitFolder } from '../data/folder.js';
import { ImageLoader } from '../data/loader.js';
import { KernelWarehouseError } from '../errors.js';
import { Device } from '../runtime/device.js';
import { evaluate } from '../train/evaluate.js';
import { validationLoaderOptions } from '../train/training.js';
import type { DeviceFlags } from './arguments.js';
import { formatCount, formatFields, formatShare } from './figures.js';
import { formatRate, Progress } from './progress.js';
import { loadTrainedModel, readTrainedModel } from './trained_model.js';

export interface EvalFlags extends DeviceFlags {
  readonly weights: string;
  readonly batchSize?: number;
  readonly json?: true;
}

export async function runEval(folder: string, flags: EvalFlags): Promise<void> {
  const trained = await readTrainedModel(flags.weights);
  const { classes, options, temperature, model } = trained;
  if (!classes || !options) throw new KernelWarehouseError('ERR_KW_INTERNAL', `${flags.weights}: a checkpoint without classes`);
  const dataset = withClassesOf(await readEvaluationFolder(folder), classes, folder);
  const loader = new ImageLoader(dataset, validationLoaderOptions(options, flags.batchSize));

  using device = Device.open(flags.device, flags.threads === undefined ? {} : { threads: flags.threads });
  using instance = await loadTrainedModel(trained, device);
  const images = dataset.samples.length;
  const begun = performance.now();
  using bar = new Progress({ label: 'eval', total: images, transient: true });
  const { top1, top5 } = await evaluate(instance, loader, {
    imageSize: options.imageSize,
    temperature,
    onBatch: (accuracy) => bar.update(accuracy.count, { 'top-1': formatShare(accuracy.top1, accuracy.count) }),
  });
  bar.stop();
  const seconds = (performance.now() - begun) / 1000;

  if (flags.json) {
    const result = { weights: flags.weights, network: model.network, images, top1: top1 / images, top5: top5 / images };
    console.log(
      JSON.stringify({ ...result, seconds, imagesPerSecond: images / seconds, device: device.name, threads: device.threads }, null, 2),
    );
    return;
  }
  console.log(
    formatFields({
      network: `${model.network}, ${classes.length} classes, ${options.imageSize} pixels`,
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

/** The same images with the classes numbered as the network has them. */
function withClassesOf({ classes, samples }: ImageDataset, known: readonly string[], folder: string): ImageDataset {
  const places = classes.map((name) => known.indexOf(name));
  const unknown = [...new Set(samples.map(({ target }) => target))]
    .filter((target) => places[target] === -1)
    .map((target) => classes[target]);
  if (unknown.length > 0) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${folder}: the network knows no class ${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ', ...' : ''}; it knows ${known.join(', ')}`,
    );
  }
  return { classes: known, samples: samples.map(({ image, target }) => ({ image, target: places[target] as number })) };
}
