/** Weights from a file with what is needed to use them. */
import { SafetensorsFile } from '../checkpoint/safetensors.js';
import { toFloat32 } from '../checkpoint/stored_tensor.js';
import { KernelWarehouseError } from '../errors.js';
import { ModelInstance, type NamedTensor } from '../models/instance.js';
import { Model } from '../models/model.js';
import { selectModel } from '../models/select.js';
import type { Device } from '../runtime/device.js';
import { readCheckpoint } from '../train/checkpoint.js';
import type { TrainingOptions } from '../train/options.js';

/** What a file of official names alone does not say. */
export interface ModelFlags {
  readonly network?: string;
  readonly classes?: number;
  readonly stem?: 'small' | 'large';
  readonly temperature?: number;
}

export interface TrainedModel {
  readonly model: Model;
  /** Names of the classes; undefined when the file does not say. */
  readonly classes: readonly string[] | undefined;
  readonly temperature: number;
  /** How it was trained; undefined when the file does not say. */
  readonly options: TrainingOptions | undefined;
  readonly tensors: ReadonlyMap<string, NamedTensor>;
}

/**
 * Reads a checkpoint of `train`, or a safetensors file of official names, for which the flags say what it is.
 * Throws ERR_KW_CHECKPOINT for another file; ERR_KW_INVALID_ARGUMENT when the flags are missing, or given though the file describes itself.
 */
export async function readTrainedModel(path: string, flags: ModelFlags = {}): Promise<TrainedModel> {
  const given = (['network', 'classes', 'stem', 'temperature'] as const).filter((name) => flags[name] !== undefined);
  if (await describesItself(path)) {
    if (given.length > 0) {
      const message = `${path} describes its network itself; leave out ${given.map((name) => `--${name}`).join(', ')}`;
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', message);
    }
    const { model, classes, temperature, options, tensors } = await readCheckpoint(path);
    return { model: new Model(model), classes, temperature, options, tensors };
  }
  if (flags.network === undefined) {
    const message = `${path} does not say which network it belongs to; give --network (and --classes and --stem where they are not 1000 and large)`;
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', message);
  }
  const { model } = selectModel(flags.network);
  const { classes, stem, temperature = 0 } = flags;
  const options = { ...model, ...(classes === undefined ? {} : { classes }), ...(stem === undefined ? {} : { stem }) };
  return { model: new Model(options), classes: undefined, temperature, options: undefined, tensors: await readTensors(path) };
}

/** The model with its weights on a device; set the temperature with `setControls`. */
export async function loadTrainedModel({ model, tensors }: TrainedModel, device: Device): Promise<ModelInstance> {
  const instance = new ModelInstance(model, device);
  try {
    await instance.load(tensors);
    return instance;
  } catch (error) {
    instance.dispose();
    throw error;
  }
}

async function describesItself(path: string): Promise<boolean> {
  const file = await SafetensorsFile.open(path);
  await file.close();
  return Object.hasOwn(file.metadata, 'kernel-warehouse');
}

async function readTensors(path: string): Promise<Map<string, NamedTensor>> {
  const file = await SafetensorsFile.open(path);
  try {
    const tensors = new Map<string, NamedTensor>();
    for (const name of file.names) {
      const tensor = await file.read(name);
      tensors.set(name, { shape: tensor.shape, data: toFloat32(tensor) });
    }
    return tensors;
  } finally {
    await file.close();
  }
}
