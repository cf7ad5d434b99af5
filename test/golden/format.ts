/** The golden files: their JSON as types, and reading them. Tensors of layer cases lie in a safetensors file beside the JSON. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { readSafetensors } from '../../lib/checkpoint/safetensors.js';

/** What is kept of a large tensor. */
export interface Digest {
  readonly shape: readonly number[];
  readonly sum: number;
  readonly l2: number;
  /** Elements by flat index in PyTorch's order. */
  readonly at: Readonly<Record<string, number>>;
  readonly float32_deviation?: number;
}

/** A tensor to be filled from its key; `name` is the official state-dict name. */
export interface FilledTensor {
  readonly name: string;
  readonly key: string;
  readonly shape: readonly number[];
  readonly lo: number;
  readonly hi: number;
}

export interface GoldenLayer {
  readonly in: number;
  readonly out: number;
  readonly kernel?: number | readonly number[];
  readonly stride?: number | readonly number[];
  readonly padding?: number | readonly number[];
  readonly dilation?: number | readonly number[];
  readonly groups?: number;
  readonly bias?: boolean;
  readonly type?: string;
  /** C,H,W or, for linear layers, tokens,C. */
  readonly input: readonly number[];
}

export interface LayerResult {
  /** Default 0. */
  readonly tau?: number;
  /** Of softmax and sigmoids, in cases of the baselines; default 1. */
  readonly temperature?: number;
  readonly train: boolean;
  /** Names of tensors in the safetensors file (x and g are filled). */
  readonly layers: readonly { readonly y: string; readonly dx: string }[];
  readonly grads: Readonly<Record<string, string>>;
  /** The first values of each running statistic after the run. */
  readonly running: Readonly<Record<string, readonly number[]>>;
}

export interface LayerFile {
  readonly case: {
    readonly name: string;
    readonly batch: number;
    readonly layers: readonly GoldenLayer[];
    readonly norm?: 'bn' | 'ln';
    readonly [option: string]: unknown;
  };
  readonly params: readonly FilledTensor[];
  readonly results: readonly LayerResult[];
  readonly cell: readonly number[];
  readonly n: number;
  readonly mixtures: readonly number[];
  /** Start cells; where absent they follow from the order. */
  readonly starts?: readonly number[];
}

interface ModelCase {
  readonly name: string;
  readonly model: string;
  readonly classes: number;
  readonly batch: number;
  readonly size: number;
  /** The official configuration's keys; absent for static networks. */
  readonly config?: Readonly<Record<string, unknown>>;
}

export interface NetworkFile {
  readonly case: ModelCase & {
    readonly tau?: number;
    /** Of softmax and sigmoids, in cases of the baselines; default 1. */
    readonly temperature?: number;
  };
  readonly parameters: number;
  readonly params: readonly FilledTensor[];
  readonly warehouses?: readonly { readonly name: string; readonly n: number; readonly cell: readonly number[] }[];
  /** Each dynamic layer's warehouse and start cell; not in all files. */
  readonly starts?: readonly { readonly name: string; readonly warehouse: number; readonly start: number }[];
  readonly eval: { readonly logits: readonly (readonly number[])[]; readonly float32_deviation: number };
  readonly train: {
    readonly targets: readonly number[];
    readonly logits: readonly (readonly number[])[];
    readonly loss: number;
    readonly dx: Digest;
    readonly float32_deviation: number;
    readonly grads: Readonly<Record<string, Digest>>;
    readonly unused: readonly string[];
  };
}

export interface TrainingFile {
  readonly case: ModelCase & {
    readonly optimizer: 'sgd' | 'adamw';
    readonly nesterov?: boolean;
    readonly lr: number;
    readonly eps?: number;
    readonly weight_decay: number;
    readonly smoothing?: number;
    readonly steps: number;
    readonly tau_steps: number;
  };
  readonly params: readonly FilledTensor[];
  readonly steps: readonly {
    readonly tau: number;
    readonly lr: number;
    readonly loss: number;
    readonly grad_norm: number;
    readonly float32_deviation: { readonly loss: number; readonly grad_norm: number };
  }[];
  /** By the number of steps done. */
  readonly after: Readonly<Record<string, Readonly<Record<string, Digest>>>>;
}

/** The names of a folder's cases, without `.json`: layers first, then networks, then training runs. */
export async function caseNames(folder: string): Promise<string[]> {
  const files = (await readdir(folder)).filter((name) => /^(layer|network|training)-.*\.json$/.test(name));
  return files.map((name) => basename(name, '.json')).sort();
}

export async function readCase<T>(folder: string, name: string): Promise<T> {
  return JSON.parse(await readFile(join(folder, `${name}.json`), 'utf8')) as T;
}

/** Every tensor of the safetensors file beside a layer case, in PyTorch's order. */
export async function readTensors(folder: string, name: string): Promise<Map<string, ArrayLike<number>>> {
  const { tensors } = await readSafetensors(join(folder, `${name}.safetensors`));
  return new Map(
    [...tensors].map(([key, { type, data }]) => {
      if (!(data instanceof Float32Array || data instanceof Float64Array))
        throw new Error(`${name}: tensor ${key} is ${type}, expected F32 or F64`);
      return [key, data];
    }),
  );
}
