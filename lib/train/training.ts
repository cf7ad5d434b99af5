/**
 * A whole training run: epochs of steps, validation, checkpoints. It stops cleanly at any step, and a resumed run computes the same
 * numbers.
 */

import type { TensorSource } from '../checkpoint/checkpoint_file.js';
import type { SplitDataset } from '../data/folder.js';
import { ImageLoader, type LoaderOptions } from '../data/loader.js';
import { KernelWarehouseError } from '../errors.js';
import { type Controls, ModelInstance } from '../models/instance.js';
import { Model } from '../models/model.js';
import type { ModelOptions } from '../models/model_options.js';
import type { Device } from '../runtime/device.js';
import { softmaxTemperatureAt, temperatureAt } from '../warehouse/index.js';
import { type Accuracy, countCorrect, noAccuracy } from './accuracy.js';
import { type Checkpoint, type EpochSummary, type TrainingProgress, writeCheckpoint } from './checkpoint.js';
import { evaluate } from './evaluate.js';
import { augmentationOf, type TrainingOptions } from './options.js';
import { learningRateAt } from './schedule.js';
import { Trainer } from './trainer.js';

export interface StepReport {
  readonly epoch: number;
  readonly batch: number;
  readonly batches: number;
  readonly images: number;
  /** Means over the epoch so far. */
  readonly loss: number;
  readonly top1: number;
  readonly learningRate: number;
  readonly temperature: number;
  readonly softmaxTemperature: number;
  readonly gradientNorm: number;
}

/** Trained weights to start from. */
export interface StartingPoint {
  readonly tensors: TensorSource;
  /** Names of tensors that may have another shape there and are then initialized instead; see `classifierNames`. */
  readonly replaced: readonly string[];
}

export interface TrainingRun {
  readonly model: ModelOptions;
  readonly options: TrainingOptions;
  readonly data: SplitDataset;
  readonly device: Device;
  /** Written after every epoch and when stopped. */
  readonly checkpointPath: string;
  /** A copy of the checkpoint with the best validation top-1. */
  readonly bestPath: string;
  /** Resume from here. */
  readonly resume?: Checkpoint;
  /** Start from these weights; not together with `resume`. */
  readonly start?: StartingPoint;
  /** Stops after the step in flight. */
  readonly signal?: AbortSignal;
  readonly onStep?: (report: StepReport) => void;
  readonly onValidationBatch?: (accuracy: Readonly<Accuracy>, total: number) => void;
  readonly onEpoch?: (summary: EpochSummary) => void;
}

export interface TrainingResult {
  readonly history: readonly EpochSummary[];
  /** Whether the signal stopped it before the last epoch was done. */
  readonly interrupted: boolean;
}

/** The loader options for validation, and for evaluating a trained model. */
export function validationLoaderOptions(options: TrainingOptions, batchSize = options.batchSize): LoaderOptions {
  const { imageSize, cropRatio, mean, standardDeviation } = options;
  return { batchSize, imageSize, cropRatio, mean, standardDeviation, shuffle: false };
}

function freshProgress(samples: number): TrainingProgress {
  return { epoch: 0, batch: 0, lossSum: 0, accuracy: noAccuracy(), seconds: 0, history: [], samples };
}

function share(count: number, of: number): number {
  return of === 0 ? 0 : count / of;
}

class Run {
  readonly #run: TrainingRun;
  readonly #instance: ModelInstance;
  readonly #trainer: Trainer;
  readonly #loader: ImageLoader;
  readonly #progress: TrainingProgress;

  constructor(run: TrainingRun) {
    this.#run = run;
    const { options, data, resume } = run;
    const samples = data.train.samples.length;
    if (resume && resume.progress.samples !== samples) {
      throw new KernelWarehouseError(
        'ERR_KW_DATA',
        `the checkpoint was trained on ${resume.progress.samples} images, but the folder has ${samples}`,
      );
    }
    this.#progress = resume ? structuredClone(resume.progress) : freshProgress(samples);
    this.#loader = new ImageLoader(data.train, {
      ...validationLoaderOptions(options),
      shuffle: true,
      seed: options.seed,
      augmentation: augmentationOf(options),
    });
    this.#instance = new ModelInstance(new Model(run.model), run.device, { precision: options.precision });
    this.#trainer = new Trainer(this.#instance, options);
  }

  async start(): Promise<void> {
    const { resume, start, options } = this.#run;
    if (resume) {
      await this.#instance.load(resume.tensors);
      await this.#trainer.load(resume.tensors);
      return;
    }
    await this.#instance.initialize(options.seed);
    if (start) await this.#instance.load(start.tensors, { replaced: start.replaced });
  }

  /** Trains to the end or to the signal; true when stopped early. */
  async epochs(): Promise<boolean> {
    const progress = this.#progress;
    while (progress.epoch < this.#run.options.epochs) {
      if (!(await this.#steps())) return true;
      const summary = await this.#finishEpoch();
      if (!summary) return true;
    }
    return false;
  }

  get history(): readonly EpochSummary[] {
    return this.#progress.history;
  }

  dispose(): void {
    this.#trainer.dispose();
    this.#instance.dispose();
  }

  /** Runs the rest of the epoch's steps; false if stopped before its end, with a checkpoint written. */
  async #steps(): Promise<boolean> {
    const progress = this.#progress;
    const { signal } = this.#run;
    const begun = performance.now() - 1000 * progress.seconds;
    const batches = this.#loader.batchesPerEpoch;
    if (progress.batch < batches) {
      const finish = (report: StepReport) => {
        progress.seconds = (performance.now() - begun) / 1000;
        this.#run.onStep?.(report);
      };
      // On an asynchronous device, a step is queued before the previous one has ended, so that the device need not wait for this thread.
      const { isAsynchronous } = this.#run.device;
      let ahead: Promise<StepReport> | undefined;
      for await (const batch of this.#loader.batches(progress.epoch, { firstBatch: progress.batch })) {
        const queued = this.#step(batch);
        queued.catch(() => {}); // if the previous step fails too, that failure is the one to report
        if (ahead) finish(await ahead);
        ahead = queued;
        if (!isAsynchronous) {
          finish(await queued);
          ahead = undefined;
        }
        if (signal?.aborted) break;
      }
      if (ahead) finish(await ahead);
    }
    if (!signal?.aborted) return true;
    await this.#save(this.#run.checkpointPath);
    return false;
  }

  async #step(batch: { images: Float32Array; targets: Int32Array; index: number; size: number }): Promise<StepReport> {
    const progress = this.#progress;
    const { options } = this.#run;
    const iteration = progress.epoch * this.#loader.batchesPerEpoch + batch.index + 1;
    const temperatures = this.#temperatures(iteration);
    const learningRate = learningRateAt(iteration, {
      peak: options.learningRate,
      minimum: options.minimumLearningRate,
      warmupEpochs: options.warmupEpochs,
      epochs: options.epochs,
      iterationsPerEpoch: this.#loader.batchesPerEpoch,
    });
    const controls = { ...temperatures, learningRate, weightDecay: options.weightDecay, step: iteration, seed: options.seed };
    const { loss, logits, gradientNorm } = await this.#trainer.step({ ...batch, imageSize: options.imageSize, controls });
    if (!Number.isFinite(loss)) {
      throw new KernelWarehouseError(
        'ERR_KW_INVALID_ARGUMENT',
        `the loss of iteration ${iteration} is ${loss} (gradient norm ${gradientNorm}); the last checkpoint is untouched. ` +
          `Try a lower learning rate than ${options.learningRate}`,
      );
    }
    progress.batch = batch.index + 1;
    progress.lossSum += loss * batch.size;
    countCorrect(progress.accuracy, logits, batch.targets);
    const { count, top1 } = progress.accuracy;
    return {
      epoch: progress.epoch,
      batch: batch.index,
      batches: this.#loader.batchesPerEpoch,
      images: batch.size,
      loss: progress.lossSum / count,
      top1: share(top1, count),
      learningRate,
      ...temperatures,
      gradientNorm,
    };
  }

  #temperatures(iteration: number): Required<Pick<Controls, 'temperature' | 'softmaxTemperature'>> {
    const { temperatureEpochs, softmaxTemperatureEpochs } = this.#run.options;
    const iterationsPerEpoch = this.#loader.batchesPerEpoch;
    return {
      temperature: temperatureAt(iteration, { epochs: temperatureEpochs, iterationsPerEpoch }),
      softmaxTemperature: softmaxTemperatureAt(iteration, { epochs: softmaxTemperatureEpochs, iterationsPerEpoch }),
    };
  }

  /** Validates and writes the checkpoint; undefined if stopped in between (a resumed run then validates again). */
  async #finishEpoch(): Promise<EpochSummary | undefined> {
    const progress = this.#progress;
    const { data, options, signal, checkpointPath, bestPath } = this.#run;
    let validation: Accuracy | undefined;
    if (data.validation) {
      const total = data.validation.samples.length;
      try {
        validation = await evaluate(this.#instance, new ImageLoader(data.validation, validationLoaderOptions(options)), {
          imageSize: options.imageSize,
          ...this.#temperatures((progress.epoch + 1) * this.#loader.batchesPerEpoch),
          ...(signal ? { signal } : {}),
          onBatch: (accuracy) => this.#run.onValidationBatch?.(accuracy, total),
        });
      } catch (error) {
        if (!signal?.aborted) throw error;
        await this.#save(checkpointPath);
        return undefined;
      }
    }
    const { epoch, lossSum, accuracy, seconds } = progress;
    const summary: EpochSummary = {
      epoch,
      loss: lossSum / accuracy.count,
      train: accuracy,
      seconds,
      ...(validation ? { validation } : {}),
    };
    const best = Math.max(-1, ...progress.history.map((past) => share(past.validation?.top1 ?? 0, past.validation?.count ?? 0)));
    progress.history.push(summary);
    Object.assign(progress, { ...freshProgress(progress.samples), epoch: epoch + 1, history: progress.history });
    await this.#save(checkpointPath);
    if (validation && share(validation.top1, validation.count) > best) await this.#save(bestPath);
    this.#run.onEpoch?.(summary);
    return summary;
  }

  async #save(path: string): Promise<void> {
    const { model, options, data } = this.#run;
    const progress = this.#progress;
    const iteration = progress.epoch * this.#loader.batchesPerEpoch + progress.batch;
    const tensors = new Map([...(await this.#instance.save()), ...(await this.#trainer.save())]);
    const temperatures = this.#temperatures(Math.max(1, iteration));
    await writeCheckpoint(path, { model, classes: [...data.train.classes], ...temperatures, options, progress, tensors });
  }
}

/**
 * Trains `run.model` on `run.data`. Writes a checkpoint after every epoch and when `run.signal` stops it, at any step. A run resumed from
 * it computes exactly what an uninterrupted run does (with the same device and number of threads). Throws ERR_KW_DATA for unreadable
 * images, ERR_KW_INVALID_ARGUMENT if the loss is not finite.
 */
export async function train(run: TrainingRun): Promise<TrainingResult> {
  const training = new Run(run);
  try {
    await training.start();
    const interrupted = await training.epochs();
    return { history: training.history, interrupted };
  } finally {
    training.dispose();
  }
}
