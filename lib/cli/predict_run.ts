/** Runs `kernel-warehouse predict`. */
import { readNpy, writeNpy } from '../checkpoint/npy.js';
import { ImageLoader, type LoaderOptions } from '../data/loader.js';
import { KernelWarehouseError } from '../errors.js';
import { toPhysical } from '../graph/declaration.js';
import { validationLoaderOptions } from '../train/training.js';
import type { DeviceFlags } from './arguments.js';
import { noteFallback } from './bfloat16.js';
import { formatShare } from './figures.js';
import type { ModelFlags, PrecisionFlags } from './model_flags.js';
import { openDevice } from './open_device.js';
import { checkedOutput } from './output_path.js';
import { Progress } from './progress.js';
import { loadTrainedModel, openTrainedModel, type TrainedModel } from './trained_model.js';

export interface PredictFlags extends DeviceFlags, ModelFlags, PrecisionFlags {
  readonly weights: string;
  readonly input?: string;
  readonly output?: string;
  readonly top: number;
  readonly batchSize: number;
  readonly imageSize?: number;
  readonly json?: true;
}

/** Samples in batches, as the network takes them. */
interface Samples {
  /** The name of each sample. */
  readonly names: readonly string[];
  readonly height: number;
  readonly width: number;
  /** Images [size, height, width, 3], in order. */
  readonly batches: () => AsyncIterable<{ readonly images: Float32Array; readonly size: number }>;
}

const defaultImageSize = 224;

export async function runPredict(images: readonly string[], flags: PredictFlags): Promise<void> {
  if (flags.output !== undefined) checkedOutput(flags.output, [flags.weights, flags.input, flags.classesFrom, flags.config, ...images]);
  const samples = flags.input === undefined ? undefined : await arraySamples(flags.input, flags.batchSize);
  const imageSize = samples?.height ?? flags.imageSize ?? defaultImageSize;
  await using trained = await openTrainedModel(flags.weights, flags, imageSize);
  const logits = await computeLogits(trained, samples ?? imageSamples(images, trained, flags), flags);
  const { names } = samples ?? { names: images };
  const classes = trained.model.options.classes;
  if (flags.output !== undefined) await writeNpy(flags.output, { type: 'F32', shape: [names.length, classes], data: logits });

  const predictions = names.map((name, sample) => {
    const ofSample = logits.subarray(sample * classes, (sample + 1) * classes);
    if (!ofSample.every(Number.isFinite)) return { name, classes: [] };
    const probabilities = softmax(ofSample);
    return {
      name,
      classes: best(probabilities, flags.top).map((index) => ({
        name: trained.classes?.[index] ?? String(index),
        index,
        probability: probabilities[index] as number,
      })),
    };
  });
  const failed = predictions.filter((one) => one.classes.length === 0);
  if (failed.length > 0) {
    process.stderr.write(
      `kernel-warehouse: the logits of ${failed.length} of ${names.length} samples are not finite, the first of them ${failed[0]?.name}; ` +
        `look for NaN, infinite or huge values in the input and in ${flags.weights}\n`,
    );
  }
  if (flags.json) console.log(JSON.stringify(predictions, null, 2));
  else
    for (const { name, classes: found } of predictions)
      console.log(`${name}  ${found.map((one) => `${one.name} ${formatShare(one.probability, 1)}`).join('  ') || 'no finite logits'}`);
}

async function computeLogits(
  trained: TrainedModel,
  { names, height, width, batches }: Samples,
  flags: PredictFlags,
): Promise<Float32Array> {
  using device = openDevice(flags);
  using instance = await loadTrainedModel(trained, device, flags);
  noteFallback(instance.precision);
  const { temperature, softmaxTemperature } = trained;
  await instance.setControls({ temperature, softmaxTemperature });
  const classes = trained.model.options.classes;
  const logits = new Float32Array(names.length * classes);
  using bar = new Progress({ label: 'predict', total: names.length, unit: 'samples', transient: true });
  let done = 0;
  for await (const { images, size } of batches()) {
    logits.set(await instance.logits(images, size, height, width), done * classes);
    done += size;
    bar.update(done);
  }
  return logits;
}

/** Throws ERR_KW_DATA unless the file has float32 [N, 3, H, W]. */
async function arraySamples(path: string, batchSize: number): Promise<Samples> {
  const { type, shape, data } = await readNpy(path);
  const [count = 0, channels = 0, height = 0, width = 0] = shape;
  if (!(data instanceof Float32Array)) {
    throw new KernelWarehouseError(
      'ERR_KW_DATA',
      `${path}: expected element type float32, got ${type}; convert it, in NumPy with x.astype('float32')`,
    );
  }
  if (shape.length !== 4 || channels !== 3 || data.length === 0) {
    throw new KernelWarehouseError('ERR_KW_DATA', `${path}: expected shape [N, 3, H, W] without a zero, got [${shape.join(', ')}]`);
  }
  const size = 3 * height * width;
  async function* batches() {
    for (let first = 0; first < count; first += batchSize) {
      const samples = Math.min(batchSize, count - first);
      const images = new Float32Array(samples * size);
      toPhysical([samples, 3, height, width], 1, (data as Float32Array).subarray(first * size, (first + samples) * size), images);
      yield { images, size: samples };
    }
  }
  return { names: Array.from({ length: count }, (_, index) => `${path}[${index}]`), height, width, batches };
}

/** Image files, prepared as for validation during training. */
function imageSamples(files: readonly string[], { model, options }: TrainedModel, flags: PredictFlags): Samples {
  const { batchSize } = flags;
  const imageSize = flags.imageSize ?? options?.imageSize ?? model.options.imageSize;
  const preparation: LoaderOptions = options ? validationLoaderOptions(options, batchSize) : { batchSize, imageSize, shuffle: false };
  // Each file is read once, so there is nothing to cache.
  const loader = new ImageLoader(
    { classes: [], samples: files.map((image) => ({ image, target: 0 })) },
    { ...preparation, imageSize, cacheMebibytes: 0 },
  );
  return { names: files, height: imageSize, width: imageSize, batches: () => loader.batches(0) };
}

function softmax(logits: Float32Array): Float64Array {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const exponentials = Float64Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((value) => value / sum);
}

/** The indices of the `count` largest values, the largest first. */
function best(values: Float64Array, count: number): number[] {
  return [...values.keys()].sort((a, b) => (values[b] as number) - (values[a] as number)).slice(0, count);
}
