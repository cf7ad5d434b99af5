/** Everything that decides the numbers of a training run, besides the model and the data; stored in its checkpoints. */
import { z } from 'zod';
import { type Augmentation, PHOTO_AUGMENTATION } from '../data/augment.js';
import { IMAGENET_MEAN, IMAGENET_STANDARD_DEVIATION } from '../data/loader.js';

const triple = z.tuple([z.number(), z.number(), z.number()]);

export const trainingOptionsSchema = z.strictObject({
  epochs: z.int().positive(),
  batchSize: z.int().positive(),
  imageSize: z.int().positive(),
  seed: z.int().min(0).max(0x7fffffff),
  /** Where the cosine schedule starts, after the warm-up. */
  learningRate: z.number().positive(),
  minimumLearningRate: z.number().nonnegative(),
  warmupEpochs: z.number().nonnegative(),
  weightDecay: z.number().nonnegative(),
  optimizer: z.union([
    z.strictObject({ kind: z.literal('sgd'), momentum: z.number().min(0).lt(1), nesterov: z.boolean() }),
    z.strictObject({
      kind: z.literal('adamw'),
      beta1: z.number().min(0).lt(1),
      beta2: z.number().min(0).lt(1),
      epsilon: z.number().positive(),
    }),
  ]),
  labelSmoothing: z.number().min(0).lt(1),
  /** The type of the activations between layers and of their gradients; checkpoints from before this option have float32. */
  precision: z.enum(['float32', 'bfloat16']).default('float32'),
  /** Epochs until the temperature of contrasting attentions (KernelWarehouse's and others') is 0. */
  temperatureEpochs: z.number().nonnegative(),
  /** Epochs until the softmax temperature of DY-Conv and ODConv is 1. */
  softmaxTemperatureEpochs: z.number().nonnegative().default(10),
  /** `photo`: random resized crops and flips; `shift`: moves by an eighth of the image; `none`. */
  augmentation: z.enum(['none', 'shift', 'photo']),
  /** Share of the resized shorter side that the central crop keeps in validation. */
  cropRatio: z.number().gt(0).max(1),
  mean: triple,
  standardDeviation: triple,
});

export type TrainingOptions = z.infer<typeof trainingOptionsSchema>;

export const defaultTrainingOptions: TrainingOptions = {
  epochs: 100,
  batchSize: 32,
  imageSize: 224,
  seed: 0,
  learningRate: 0.05,
  minimumLearningRate: 0,
  warmupEpochs: 0,
  weightDecay: 1e-4,
  optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false },
  labelSmoothing: 0,
  precision: 'float32',
  temperatureEpochs: 10,
  softmaxTemperatureEpochs: 10,
  augmentation: 'photo',
  cropRatio: 0.875,
  mean: [...IMAGENET_MEAN] as [number, number, number],
  standardDeviation: [...IMAGENET_STANDARD_DEVIATION] as [number, number, number],
};

export function augmentationOf(options: TrainingOptions): Augmentation {
  switch (options.augmentation) {
    case 'none':
      return {};
    case 'shift':
      return { shift: Math.max(1, Math.floor(options.imageSize / 8)) };
    case 'photo':
      return PHOTO_AUGMENTATION;
  }
}
