/** A model whose stored tensors live on a device. */
import type { TensorSource } from '../checkpoint/checkpoint_file.js';
import { KernelWarehouseError } from '../errors.js';
import type { Arena } from '../graph/arena.js';
import { Graph } from '../graph/graph.js';
import { fillInitialValues } from '../graph/initial_values.js';
import { elements } from '../graph/operation.js';
import { output } from '../graph/ops/copy.js';
import { fuseInference } from '../graph/passes/fuse_inference.js';
import { lower } from '../graph/passes/lower.js';
import { inPrecision, type Precision, precisions } from '../graph/passes/precision.js';
import { type ControlName, controlBlock, controlBytes, controlSlots } from '../plan/control.js';
import type { Plan } from '../plan/plan.js';
import { bindAll, disposeAll } from '../runtime/binding.js';
import type { DeviceBuffer } from '../runtime/buffer.js';
import type { Device } from '../runtime/device.js';
import type { Program } from '../runtime/program.js';
import { checkNames, shortly, suggestion } from '../validation/known_names.js';
import { type NamedTensor, readArena, writeArena, writeTensor } from './arenas.js';
import type { LoadOptions, LoadReport } from './load_report.js';
import type { Model } from './model.js';

/** One entry for each option, so that the compiler misses none that is added. */
const loadOptionNames: Readonly<Record<keyof LoadOptions, true>> = { strict: true, replaced: true };

/** Passing a Map of tensors is the likeliest mistake: it has a method `has`, and tensors under the right names. */
function checkSource(source: TensorSource): void {
  if (typeof source?.has === 'function' && typeof source.entry === 'function' && typeof source.read === 'function') return;
  throw new KernelWarehouseError(
    'ERR_KW_INVALID_ARGUMENT',
    `load: expected a source of tensors, got ${shortly(source)}; give what openCheckpoint returns, or tensorsInMemory(tensors) for a Map`,
  );
}

export type Controls = Readonly<Partial<Record<ControlName, number>>>;

export interface InstanceOptions {
  /**
   * The type of the activations between layers, and in training of their gradients; default float32. Stored tensors are float32 in either
   * case, so checkpoints are the same.
   */
  readonly precision?: Precision;
}

const instanceOptionNames: Readonly<Record<keyof InstanceOptions, true>> = { precision: true };

/** The plan that computes `logits` [batch, classes] from `images` [batch, height, width, 3]; both are float32 in every precision. */
export function inferencePlan(model: Model, batch: number, height: number, width = height, precision: Precision = 'float32'): Plan {
  const graph = new Graph();
  output('logits', model.forward(graph, graph.input('images', [batch, height, width, 3]), false));
  const name = `${model.network} inference ${batch}x${height}x${width}`;
  return lower(inPrecision(fuseInference(graph), precision), { name, parameters: model.parameters, states: model.states });
}

interface Result {
  /** The name of its buffer in the plan. */
  readonly name: string;
  readonly shape: readonly number[];
}

/** The plan that computes the feature maps at the ends of the given stages from `images`. */
function stagesPlan(
  model: Model,
  [batch, height, width]: readonly [number, number, number],
  stages: readonly number[],
  precision: Precision,
): [Plan, Result[]] {
  const graph = new Graph();
  const maps = model.forwardStages(graph, graph.input('images', [batch, height, width, 3]), false, stages);
  const results = maps.map(({ shape }, index) => ({ name: `stage${stages[index]}`, shape }));
  maps.forEach((map, index) => output((results[index] as Result).name, map));
  const name = `${model.network} stages ${stages.join(', ')} ${batch}x${height}x${width}`;
  return [lower(inPrecision(fuseInference(graph), precision), { name, parameters: model.parameters, states: model.states }), results];
}

/** Activations in memory order. */
export interface FeatureMap {
  /** [N, H, W, C] */
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

interface Inference extends Disposable {
  readonly program: Program;
  readonly images: DeviceBuffer;
  readonly results: readonly (Result & { readonly buffer: DeviceBuffer })[];
}

export class ModelInstance implements Disposable {
  readonly model: Model;
  readonly device: Device;
  readonly precision: Precision;
  /** The arena of trained tensors. */
  readonly parameters: DeviceBuffer;
  /** The arena of running statistics. */
  readonly state: DeviceBuffer;
  readonly control: DeviceBuffer;
  readonly #inference = new Map<string, Inference>();

  /** Stored tensors start as zeros; call `initialize` or `load`. Throws ERR_KW_INVALID_ARGUMENT for unknown options. */
  constructor(model: Model, device: Device, options: InstanceOptions = {}) {
    checkNames(options, Object.keys(instanceOptionNames), 'options of ModelInstance');
    const { precision = 'float32' } = options;
    if (!precisions.includes(precision)) {
      const expected = precisions.map((one) => `'${one}'`).join(' or ');
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `expected precision ${expected} but received ${shortly(precision)}`);
    }
    this.model = model;
    this.device = device;
    this.precision = precision;
    this.parameters = device.allocate(4 * model.parameters.size);
    this.state = device.allocate(4 * model.states.size);
    this.control = device.allocate(controlBytes);
    // In case nobody sets the controls. If the device cannot even do this, its first use says so.
    this.control.write(controlBlock({})).catch(() => {});
  }

  /** Fills all stored tensors with their initial values, which depend on `seed` and their names alone. */
  async initialize(seed: number): Promise<void> {
    for (const [arena, buffer] of this.#arenas()) {
      for (const { declaration, offset, size } of arena.entries) {
        const values = new Float32Array(size);
        fillInitialValues(values, declaration, seed);
        await writeTensor(buffer, declaration, offset, values);
      }
    }
  }

  /** Reads every stored tensor. */
  async save(): Promise<Map<string, NamedTensor>> {
    const tensors = new Map<string, NamedTensor>();
    for (const [arena, buffer] of this.#arenas()) {
      for (const [name, tensor] of await readArena(arena, buffer)) tensors.set(name, tensor);
    }
    return tensors;
  }

  /**
   * Writes the stored tensors from a checkpoint one after the other, so that at most one is in host memory. Throws ERR_KW_CHECKPOINT,
   * before anything is written, naming every tensor that does not fit, or if no trained tensor would be loaded; ERR_KW_INVALID_ARGUMENT for
   * something that is not a source, and for unknown options. Tensors that are not loaded keep their values.
   */
  async load(source: TensorSource, options: LoadOptions = {}): Promise<LoadReport> {
    checkNames(options, Object.keys(loadOptionNames), 'options of load');
    checkSource(source);
    const replaced = new Set<string>(options.replaced);
    this.#checkStored(replaced);
    const report = this.model.checkFit(source, { ...options, replaced });
    const names = new Set(report.loaded);
    for (const [arena, buffer] of this.#arenas()) await writeArena(arena, buffer, source, names);
    return report;
  }

  /**
   * Writes the whole control block. Scalars that are not given become 0, the softmax temperature 1. Throws ERR_KW_INVALID_ARGUMENT for
   * unknown scalars, for values that are not finite, and for a softmax temperature that is not above 0.
   */
  async setControls(values: Controls): Promise<void> {
    checkNames(values, Object.keys(controlSlots), 'controls');
    for (const [name, value] of Object.entries(values)) {
      if (!Number.isFinite(value)) {
        throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `controls: expected ${name} to be a finite number, got ${String(value)}`);
      }
    }
    const { softmaxTemperature = 1 } = values;
    if (softmaxTemperature <= 0) {
      throw new KernelWarehouseError(
        'ERR_KW_INVALID_ARGUMENT',
        `controls: expected softmaxTemperature above 0, because logits are divided by it, got ${softmaxTemperature}`,
      );
    }
    await this.control.write(controlBlock(values));
  }

  /** Logits [batch, classes] of images [batch, height, width, 3] with the running statistics. */
  async logits(images: Float32Array, batch: number, height: number, width = height): Promise<Float32Array> {
    const result = { name: 'logits', shape: [batch, this.model.options.classes] };
    const [logits] = await this.#infer(images, [batch, height, width], 'logits', () => [
      inferencePlan(this.model, batch, height, width, this.precision),
      [result],
    ]);
    return (logits as FeatureMap).data;
  }

  /**
   * Feature maps [batch, h, w, C] at the ends of the given stages, in the order given, of images [batch, height, width, 3]; see
   * `Model.forwardStages`. Throws ERR_KW_INVALID_ARGUMENT for a stage that the network does not have, or that is given twice.
   */
  async stages(images: Float32Array, batch: number, height: number, width: number, stages: readonly number[]): Promise<FeatureMap[]> {
    if (!Array.isArray(stages) || stages.length === 0 || new Set(stages).size < stages.length) {
      const received = Array.isArray(stages) ? `[${stages.join(', ')}]` : shortly(stages);
      throw new KernelWarehouseError(
        'ERR_KW_INVALID_ARGUMENT',
        `expected a list of at least one stage, and each once, but received ${received}`,
      );
    }
    return this.#infer(images, [batch, height, width], `stages ${stages.join()}`, () =>
      stagesPlan(this.model, [batch, height, width], stages, this.precision),
    );
  }

  /** Runs the plan for `wanted` on images of this size, prepared at first use; the results are in the order of `plan`. */
  async #infer(images: Float32Array, size: readonly number[], wanted: string, plan: () => [Plan, Result[]]): Promise<FeatureMap[]> {
    const expected = [...size, 3];
    if (!size.every((one) => Number.isInteger(one) && one > 0)) {
      throw new KernelWarehouseError(
        'ERR_KW_INVALID_ARGUMENT',
        `expected positive whole numbers as batch, height and width but received ${size.join(', ')}`,
      );
    }
    if (!(images instanceof Float32Array)) {
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `expected images as a Float32Array but received ${shortly(images)}`);
    }
    if (images.length !== elements(expected)) {
      throw new KernelWarehouseError('ERR_KW_SHAPE', `expected ${expected.join('x')} values but received ${images.length}`);
    }
    const key = `${size.join('x')} ${wanted}`;
    const inference = this.#inference.get(key) ?? this.#prepare(...plan());
    this.#inference.set(key, inference);
    const writing = inference.images.write(images);
    const running = inference.program.run();
    const [read] = await Promise.all([Promise.all(inference.results.map(({ buffer }) => buffer.read())), writing, running]);
    return inference.results.map(({ shape }, index) => ({ shape, data: new Float32Array(read[index] as ArrayBuffer) }));
  }

  #prepare(plan: Plan, outputs: readonly Result[]): Inference {
    const program = this.device.prepare(plan);
    const allocate = (name: string) => this.device.allocate(plan.buffers.find((buffer) => buffer.name === name)?.bytes ?? 0);
    const images = allocate('images');
    const results = outputs.map((result) => ({ ...result, buffer: allocate(result.name) }));
    const places = Object.fromEntries(results.map(({ name, buffer }) => [name, buffer]));
    bindAll(program, { ...places, images, parameters: this.parameters, state: this.state, control: this.control });
    return { program, images, results, [Symbol.dispose]: () => disposeAll([program, images, ...Object.values(places)]) };
  }

  #checkStored(names: ReadonlySet<string>): void {
    const known = new Set(this.model.declarations.map(({ name }) => name));
    for (const name of names) {
      if (known.has(name)) continue;
      throw new KernelWarehouseError(
        'ERR_KW_INVALID_ARGUMENT',
        `options of load: replaced: ${this.model.network} has no tensor '${name}'${suggestion(name, [...known])}`,
      );
    }
  }

  #arenas(): [Arena, DeviceBuffer][] {
    return [
      [this.model.parameters, this.parameters],
      [this.model.states, this.state],
    ];
  }

  dispose(): void {
    disposeAll([...this.#inference.values(), this.parameters, this.state, this.control]);
    this.#inference.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
