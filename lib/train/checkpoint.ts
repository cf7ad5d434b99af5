/**
 * A training run's checkpoint: a safetensors file with the weights under their
 * official names, and all that is needed to use them or go on.
 */
import { z } from 'zod';
import { type CheckpointFile, openCheckpoint, type TensorSource } from '../checkpoint/checkpoint_file.js';
import { failureOf } from '../checkpoint/failure.js';
import { writeSafetensors } from '../checkpoint/safetensors.js';
import type { NamedTensor } from '../models/arenas.js';
import type { ModelOptions } from '../models/model_options.js';
import { modelOptionsSchema } from '../models/model_options.js';
import { type TrainingOptions, trainingOptionsSchema } from './options.js';

const accuracySchema = z.strictObject({ top1: z.number(), top5: z.number(), count: z.number() });

const epochSchema = z.strictObject({
  epoch: z.int(),
  loss: z.number(),
  train: accuracySchema,
  validation: accuracySchema.optional(),
  seconds: z.number(),
});

/** What one epoch came to. */
export type EpochSummary = z.infer<typeof epochSchema>;

const progressSchema = z.strictObject({
  /** The epoch to go on with, counted from 0. */
  epoch: z.int().nonnegative(),
  /** The batch of it to go on with. */
  batch: z.int().nonnegative(),
  /** Sums over the batches of this epoch that are done. */
  lossSum: z.number(),
  accuracy: accuracySchema,
  seconds: z.number(),
  history: z.array(epochSchema),
  /** Training images, to notice another dataset. */
  samples: z.int(),
});

export type TrainingProgress = z.infer<typeof progressSchema>;

const descriptionSchema = z.strictObject({
  format: z.literal('kernel-warehouse 1'),
  model: modelOptionsSchema,
  /** The temperature that the weights were last used with. */
  temperature: z.number().min(0).max(1),
  /** The same of the softmax temperature; absent in the files of versions without it, where it is 1. */
  softmaxTemperature: z.number().positive().exactOptional(),
  /** Names, in the order of the logits. */
  classes: z.array(z.string()).optional(),
  options: trainingOptionsSchema.optional(),
  progress: progressSchema.optional(),
});

/** What a file says about its weights: the network at least, the rest when this package trained them. */
export interface Description {
  readonly model: ModelOptions;
  readonly temperature: number;
  /** Default 1. */
  readonly softmaxTemperature?: number;
  readonly classes?: readonly string[];
  readonly options?: TrainingOptions;
  readonly progress?: TrainingProgress;
}

/** What is needed to use the weights of a training run, or to go on with it. */
export interface Checkpoint extends Required<Description> {
  /** The weights under their official names, and the optimizer's state as `optimizer.<arena>.<name>`. */
  readonly tensors: TensorSource;
}

const KEY = 'kernel-warehouse';

/** The entry of a file's metadata that holds a description. */
export function descriptionMetadata(description: Description): Readonly<Record<string, string>> {
  return { [KEY]: JSON.stringify({ format: 'kernel-warehouse 1', ...description }) };
}

/** Writes the file so that a crash at any time leaves either the old or the new one. */
export async function writeCheckpoint(
  path: string,
  { tensors, ...description }: Required<Description> & { readonly tensors: ReadonlyMap<string, NamedTensor> },
): Promise<void> {
  await writeSafetensors(path, tensors, descriptionMetadata(description));
}

/** The description in a file, undefined where it has none. Throws ERR_KW_CHECKPOINT when it is not as this version writes it. */
export function readDescription({ path, metadata }: CheckpointFile): Description | undefined {
  const text = Object.hasOwn(metadata, KEY) ? metadata[KEY] : undefined;
  if (text === undefined) return undefined;
  const parsed = descriptionSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return failureOf(path)(`its description does not fit this version: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { format: _format, ...description } = parsed.data;
  // JSON has no undefined, so that an option is there or absent, as the type demands.
  return description as Description;
}

/** An open file as the checkpoint of a training run. Throws ERR_KW_CHECKPOINT when it is not one of this package. */
export function trainingCheckpoint(file: CheckpointFile): Checkpoint {
  const { model, temperature, softmaxTemperature = 1, classes, options, progress } = readDescription(file) ?? {};
  if (!model || temperature === undefined || !classes || !options || !progress) {
    return failureOf(file.path)("not a checkpoint that 'kernel-warehouse train' wrote");
  }
  return { model, temperature, softmaxTemperature, classes, options, progress, tensors: file };
}

/** What the checkpoint of a training run says, without its tensors. Throws ERR_KW_CHECKPOINT when it is not one of this package. */
export async function readCheckpoint(path: string): Promise<Required<Description>> {
  await using file = await openCheckpoint(path);
  const { tensors: _tensors, ...description } = trainingCheckpoint(file);
  return description;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
