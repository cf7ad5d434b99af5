/** Top-1 and top-5 of a model instance over a dataset. */
import type { ImageLoader } from '../data/loader.js';
import type { ModelInstance } from '../models/instance.js';
import { type Accuracy, countCorrect, noAccuracy } from './accuracy.js';

export interface EvaluateOptions {
  readonly imageSize: number;
  /** The temperature of the attention, written to the control block before the first batch. */
  readonly temperature: number;
  /** The softmax temperature of DY-Conv and ODConv; default 1. */
  readonly softmaxTemperature?: number;
  readonly signal?: AbortSignal;
  /** Called after each batch with the number of images done. */
  readonly onBatch?: (accuracy: Readonly<Accuracy>) => void;
}

export async function evaluate(instance: ModelInstance, loader: ImageLoader, options: EvaluateOptions): Promise<Accuracy> {
  const { temperature, softmaxTemperature = 1 } = options;
  await instance.setControls({ temperature, softmaxTemperature });
  const accuracy = noAccuracy();
  for await (const batch of loader.batches(0, options.signal ? { signal: options.signal } : {})) {
    countCorrect(accuracy, await instance.logits(batch.images, batch.size, options.imageSize), batch.targets);
    options.onBatch?.(accuracy);
  }
  return accuracy;
}
