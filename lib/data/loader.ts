/** Batches of images, ready for a network, in an order that depends on seed and epoch only. */
import { availableParallelism } from 'node:os';
import { KernelWarehouseError } from '../errors.js';
import { RandomStream, validateSeed } from '../random.js';
import { type Augmentation, drawCrop, drawPlacement, normalizationTable, normalizeInto, UNCHANGED } from './augment.js';
import type { ImageDataset } from './folder.js';
import { cropAndResize, decodeImage, type Pixels, RESIZE_KERNELS, type ResizeKernel, resizeAndCropCentre } from './image.js';

export interface LoaderOptions {
  /** Images in a batch; the last batch of an epoch has what is left. */
  readonly batchSize: number;
  /** Height and width of the network's input, in pixels. */
  readonly imageSize: number;
  /** Default 0. */
  readonly seed?: number;
  /** Whether each epoch has another order (default true) or the dataset's own. */
  readonly shuffle?: boolean;
  /** Random changes of the images; default none. */
  readonly augmentation?: Augmentation;
  /** Share of the resized shorter side that the central crop keeps, in (0, 1]; not used with a random resized crop. Default 0.875. */
  readonly cropRatio?: number;
  /** Default cubic. */
  readonly kernel?: ResizeKernel;
  /** Of R, G and B in 0..1; default ImageNet's. */
  readonly mean?: readonly number[];
  /** Of R, G and B in 0..1; default ImageNet's. */
  readonly standardDeviation?: readonly number[];
  /** Batches prepared ahead of the one in use; default 2. */
  readonly prefetch?: number;
  /** Images that are prepared at once; default the number of processors, at least 4. */
  readonly concurrency?: number;
  /** Decoded images kept in memory for later epochs, in MiB; does not change any result. Default 256. */
  readonly cacheMebibytes?: number;
}

export const IMAGENET_MEAN: readonly number[] = [0.485, 0.456, 0.406];
export const IMAGENET_STANDARD_DEVIATION: readonly number[] = [0.229, 0.224, 0.225];

export interface Batch {
  /** [size, imageSize, imageSize, 3], normalised. */
  readonly images: Float32Array;
  /** [size], class indices. */
  readonly targets: Int32Array;
  /** [size], indices in the dataset. */
  readonly indices: Int32Array;
  readonly size: number;
  readonly epoch: number;
  /** Index of the batch in its epoch. */
  readonly index: number;
}

/** The order of an epoch: a permutation of 0..count-1 that depends on seed and epoch only. */
export function epochOrder(count: number, seed: number, epoch: number): Int32Array {
  return new RandomStream(seed, 'order', epoch).shuffle(Int32Array.from({ length: count }, (_, i) => i));
}

/** Loads a dataset batch by batch. Holds no open files; may be used for several epochs, also at once. */
export class ImageLoader {
  readonly dataset: ImageDataset;
  private readonly options: Required<Omit<LoaderOptions, 'augmentation'>>;
  private readonly augmentation: Augmentation | undefined;
  private readonly table: Float32Array;
  private readonly cache = new Map<number, Pixels>();
  private cacheBytesLeft: number;

  /** Throws ERR_KW_INVALID_ARGUMENT when an option is out of range, ERR_KW_DATA when the dataset is empty. */
  constructor(dataset: ImageDataset, options: LoaderOptions) {
    this.dataset = dataset;
    this.options = {
      seed: 0,
      shuffle: true,
      cropRatio: 0.875,
      kernel: 'cubic',
      mean: IMAGENET_MEAN,
      standardDeviation: IMAGENET_STANDARD_DEVIATION,
      prefetch: 2,
      concurrency: Math.max(4, availableParallelism()),
      cacheMebibytes: 256,
      ...options,
    };
    this.augmentation = options.augmentation;
    this.validate();
    this.table = normalizationTable(this.options.mean, this.options.standardDeviation);
    this.cacheBytesLeft = this.options.cacheMebibytes * 2 ** 20;
  }

  get batchesPerEpoch(): number {
    return Math.ceil(this.dataset.samples.length / this.options.batchSize);
  }

  /**
   * The batches of an epoch (0, 1, ...) from `firstBatch` on, exactly as in a full run of the epoch. The next ones are prepared while one
   * is in use. Rejects with ERR_KW_DATA, naming the file, at an image that cannot be read, and with the signal's reason when it is aborted.
   * Leaving the loop early stops the work.
   */
  async *batches(
    epoch: number,
    { firstBatch = 0, signal }: { firstBatch?: number; signal?: AbortSignal } = {},
  ): AsyncGenerator<Batch, void, void> {
    requireWhole('epoch', epoch, 0);
    requireWhole('firstBatch', firstBatch, 0);
    const { shuffle, seed, batchSize, prefetch } = this.options;
    const count = this.dataset.samples.length;
    const order = shuffle ? epochOrder(count, seed, epoch) : Int32Array.from({ length: count }, (_, i) => i);
    const stop = new AbortController();
    const stopped = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;

    const ahead: Promise<Batch>[] = [];
    let lastStarted: Promise<unknown> = Promise.resolve();
    let next = firstBatch;
    const start = (): void => {
      const index = next++;
      const batch = lastStarted.then(() => this.loadBatch(order.slice(index * batchSize, (index + 1) * batchSize), epoch, index, stopped));
      lastStarted = batch.catch(() => undefined);
      ahead.push(batch);
    };
    try {
      for (;;) {
        while (next < this.batchesPerEpoch && ahead.length <= prefetch) start();
        const batch = ahead.shift();
        if (!batch) return;
        yield await batch;
        signal?.throwIfAborted();
      }
    } finally {
      stop.abort();
      await lastStarted;
    }
  }

  private async loadBatch(indices: Int32Array, epoch: number, index: number, stopped: AbortSignal): Promise<Batch> {
    const size = indices.length;
    const elements = this.options.imageSize ** 2 * 3;
    const images = new Float32Array(size * elements);
    const targets = new Int32Array(size);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < size) {
        stopped.throwIfAborted();
        const slot = next++;
        const sample = indices[slot] as number;
        targets[slot] = this.dataset.samples[sample]?.target as number;
        try {
          await this.loadImage(sample, epoch, images, slot * elements);
        } catch (error) {
          next = size; // the others need not continue
          throw error;
        }
      }
    };
    const workers = await Promise.allSettled(Array.from({ length: this.options.concurrency }, work));
    for (const worker of workers) if (worker.status === 'rejected') throw worker.reason;
    return { images, targets, indices, size, epoch, index };
  }

  private async loadImage(sample: number, epoch: number, images: Float32Array, offset: number): Promise<void> {
    const random = new RandomStream(this.options.seed, 'augmentation', epoch, sample);
    const placement = this.augmentation ? drawPlacement(random, this.augmentation) : UNCHANGED;
    const crop = this.augmentation?.randomResizedCrop;
    let pixels = await this.readPixels(sample, crop !== undefined);
    if (crop) {
      const box = drawCrop(random, pixels.width, pixels.height, crop);
      pixels = await cropAndResize(pixels, box, this.options.imageSize, this.options.kernel);
    }
    normalizeInto(images, offset, pixels, placement, this.table);
  }

  /** What the random changes of an image start from: the whole image, or the view for evaluation. Kept while there is room. */
  private async readPixels(sample: number, whole: boolean): Promise<Pixels> {
    const cached = this.cache.get(sample);
    if (cached) return cached;
    const { imageSize, cropRatio, kernel } = this.options;
    const decoded = await decodeImage((this.dataset.samples[sample] as ImageDataset['samples'][number]).image);
    const pixels = whole ? decoded : await resizeAndCropCentre(decoded, imageSize, cropRatio, kernel);
    if (pixels.data.byteLength <= this.cacheBytesLeft && !this.cache.has(sample)) {
      this.cacheBytesLeft -= pixels.data.byteLength;
      this.cache.set(sample, pixels);
    }
    return pixels;
  }

  private validate(): void {
    const { batchSize, imageSize, seed, cropRatio, kernel, mean, standardDeviation, prefetch, concurrency, cacheMebibytes } = this.options;
    if (this.dataset.samples.length === 0) throw new KernelWarehouseError('ERR_KW_DATA', 'the dataset has no images');
    requireWhole('batchSize', batchSize, 1);
    requireWhole('imageSize', imageSize, 1);
    requireWhole('prefetch', prefetch, 0);
    requireWhole('concurrency', concurrency, 1);
    validateSeed(seed);
    requireThat(cropRatio > 0 && cropRatio <= 1, 'cropRatio', 'a number in (0, 1]', cropRatio);
    requireThat(RESIZE_KERNELS.includes(kernel), 'kernel', `one of ${RESIZE_KERNELS.join(', ')}`, kernel);
    requireThat(mean.length === 3 && mean.every(Number.isFinite), 'mean', 'three numbers', mean);
    requireThat(
      standardDeviation.length === 3 && standardDeviation.every((value) => value > 0 && value < Infinity),
      'standardDeviation',
      'three numbers above 0',
      standardDeviation,
    );
    requireThat(cacheMebibytes >= 0, 'cacheMebibytes', 'a number >= 0', cacheMebibytes);
    const { shift = 0, randomResizedCrop } = this.augmentation ?? {};
    requireWhole('augmentation.shift', shift, 0);
    if (randomResizedCrop) {
      const { scale, ratio } = randomResizedCrop;
      requireThat(scale[0] > 0 && scale[0] <= scale[1] && scale[1] <= 1, 'augmentation scale', 'two rising numbers in (0, 1]', scale);
      requireThat(ratio[0] > 0 && ratio[0] <= ratio[1] && ratio[1] < Infinity, 'augmentation ratio', 'two rising numbers above 0', ratio);
    }
  }
}

function requireThat(condition: boolean, name: string, expected: string, actual: unknown): void {
  if (!condition) throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${name}: expected ${expected}, got ${String(actual)}`);
}

function requireWhole(name: string, value: number, least: number): void {
  requireThat(Number.isSafeInteger(value) && value >= least, name, `a whole number >= ${least}`, value);
}
