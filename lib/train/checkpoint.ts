/**
 * The checkpoint of a training run: a safetensors file with the weights under their official names, and everything needed to use them or to
 * resume the run.
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

/** The results of one epoch. */
export type EpochSummary = z.infer<typeof epochSchema>;

const progressSchema = z.strictObject({
  /** The epoch to continue with, counted from 0. */
  epoch: z.int().nonnegative(),
  /** The batch of that epoch to continue with. */
  batch: z.int().nonnegative(),
  /** Sums over the batches of this epoch that are done. */
  lossSum: z.number(),
  accuracy: accuracySchema,
  seconds: z.number(),
  history: z.array(epochSchema),
  /** The number of training images, to detect another dataset. */
  samples: z.int(),
});

export type TrainingProgress = z.infer<typeof progressSchema>;

const descriptionSchema = z.strictObject({
  format: z.literal('kernel-warehouse 1'),
  model: modelOptionsSchema,
  /** The temperature with which the weights were last used. */
  temperature: z.number().min(0).max(1),
  /** The same for the softmax temperature; absent in files of older versions, where it is 1. */
  softmaxTemperature: z.number().positive().exactOptional(),
  /** Names, in the order of the logits. */
  classes: z.array(z.string()).optional(),
  options: trainingOptionsSchema.optional(),
  progress: progressSchema.optional(),
});

/** What a file says about its weights: at least the network, and the rest if this package trained them. */
export interface Description {
  readonly model: ModelOptions;
  readonly temperature: number;
  /** Default 1. */
  readonly softmaxTemperature?: number;
  readonly classes?: readonly string[];
  readonly options?: TrainingOptions;
  readonly progress?: TrainingProgress;
}

/** Everything needed to use the weights of a training run, or to resume it. */
export interface Checkpoint extends Required<Description> {
  /** The weights under their official names, and the optimizer's state as `optimizer.<arena>.<name>`. */
  readonly tensors: TensorSource;
}

const KEY = 'kernel-warehouse';

/** The entry of a file's metadata that holds a description. */
export function descriptionMetadata(description: Description): Readonly<Record<string, string>> {
  return { [KEY]: JSON.stringify({ format: 'kernel-warehouse 1', ...description }) };
}

/** Writes the file so that a crash at any time leaves either the old one or the new one. */
export async function writeCheckpoint(
  path: string,
  { tensors, ...description }: Required<Description> & { readonly tensors: ReadonlyMap<string, NamedTensor> },
): Promise<void> {
  await writeSafetensors(path, tensors, descriptionMetadata(description));
}

/** The description in a file; undefined if it has none. Throws ERR_KW_CHECKPOINT if this version could not have written it. */
export function readDescription({ path, metadata }: CheckpointFile): Description | undefined {
  const text = Object.hasOwn(metadata, KEY) ? metadata[KEY] : undefined;
  if (text === undefined) return undefined;
  const parsed = descriptionSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return failureOf(path)(`its description does not fit this version: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  const { format: _format, ...description } = parsed.data;
  // JSON has no undefined, so an option is either present or absent, as the type demands.
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
