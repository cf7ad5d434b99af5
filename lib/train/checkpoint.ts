/** A training run's checkpoint: a safetensors file with the weights under their official names, and all that is needed to use them or go on. */
import { z } from 'zod';
import { readSafetensors, writeSafetensors } from '../checkpoint/safetensors.js';
import { type StoredTensor, toFloat32 } from '../checkpoint/stored_tensor.js';
import { KernelWarehouseError } from '../errors.js';
import type { NamedTensor } from '../models/instance.js';
import type { ModelOptions } from '../models/model.js';
import { trainingOptionsSchema } from './options.js';

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

const metadataSchema = z.strictObject({
  format: z.literal('kernel-warehouse 1'),
  model: z.looseObject({ network: z.string() }),
  classes: z.array(z.string()),
  /** The temperature that the weights were last used with. */
  temperature: z.number().min(0).max(1),
  options: trainingOptionsSchema,
  progress: progressSchema,
});

type Metadata = z.infer<typeof metadataSchema>;

export interface Checkpoint extends Omit<Metadata, 'format' | 'model'> {
  readonly model: ModelOptions;
  readonly tensors: ReadonlyMap<string, NamedTensor>;
}

/** Writes the file so that a crash at any time leaves either the old or the new one. */
export async function writeCheckpoint(path: string, { tensors, ...metadata }: Checkpoint): Promise<void> {
  const stored = new Map<string, StoredTensor>();
  for (const [name, { shape, data }] of tensors) stored.set(name, { type: 'F32', shape, data });
  await writeSafetensors(path, stored, { 'kernel-warehouse': JSON.stringify({ format: 'kernel-warehouse 1', ...metadata }) });
}

/** Throws ERR_KW_CHECKPOINT when the file is not a checkpoint of this package. */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  const { tensors: stored, metadata } = await readSafetensors(path);
  const text = metadata['kernel-warehouse'];
  if (text === undefined) {
    throw new KernelWarehouseError(
      'ERR_KW_CHECKPOINT',
      `${path}: a safetensors file, but not a checkpoint that 'kernel-warehouse train' wrote`,
    );
  }
  const parsed = metadataSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new KernelWarehouseError(
      'ERR_KW_CHECKPOINT',
      `${path}: its description does not fit this version: ${issue?.path.join('.')}: ${issue?.message}`,
    );
  }
  const tensors = new Map<string, NamedTensor>();
  for (const [name, tensor] of stored) tensors.set(name, { shape: tensor.shape, data: toFloat32(tensor) });
  const { format: _, model, ...rest } = parsed.data;
  return { ...rest, model: model as unknown as ModelOptions, tensors };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
