/** A model whose stored tensors live on a device. */
import { KernelWarehouseError } from '../errors.js';
import type { Arena } from '../graph/arena.js';
import { toLogical, toPhysical } from '../graph/declaration.js';
import { Graph } from '../graph/graph.js';
import { elements } from '../graph/operation.js';
import { output } from '../graph/ops/copy.js';
import { fuseMixing } from '../graph/passes/fuse_mixing.js';
import { lower } from '../graph/passes/lower.js';
import { type ControlName, controlBlock, controlBytes } from '../plan/control.js';
import type { Plan } from '../plan/plan.js';
import type { DeviceBuffer } from '../runtime/buffer.js';
import type { Device } from '../runtime/device.js';
import type { Program } from '../runtime/program.js';
import { fillInitialValues } from '../warehouse/index.js';
import type { Model } from './model.js';

/** A tensor in PyTorch's order under its official name. */
export interface NamedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export type Controls = Readonly<Partial<Record<ControlName, number>>>;

/** The plan that computes `logits` [batch, classes] from `images` [batch, imageSize, imageSize, 3]. */
export function inferencePlan(model: Model, batch: number, height: number, width = height): Plan {
  const graph = new Graph();
  output('logits', model.forward(graph, graph.input('images', [batch, height, width, 3]), false));
  const name = `${model.network} inference ${batch}x${height}x${width}`;
  return lower(fuseMixing(graph), { name, parameters: model.parameters, states: model.states });
}

interface Result {
  /** The name of its buffer in the plan. */
  readonly name: string;
  readonly shape: readonly number[];
}

/** The plan that computes the feature maps at the ends of the given stages from `images`. */
function stagesPlan(model: Model, batch: number, height: number, width: number, stages: readonly number[]): [Plan, Result[]] {
  const graph = new Graph();
  const maps = model.forwardStages(graph, graph.input('images', [batch, height, width, 3]), false, stages);
  const results = maps.map(({ shape }, index) => ({ name: `stage${stages[index]}`, shape }));
  maps.forEach((map, index) => output((results[index] as Result).name, map));
  const name = `${model.network} stages ${stages.join(', ')} ${batch}x${height}x${width}`;
  return [lower(fuseMixing(graph), { name, parameters: model.parameters, states: model.states }), results];
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
  /** The arena of trained tensors. */
  readonly parameters: DeviceBuffer;
  /** The arena of running statistics. */
  readonly state: DeviceBuffer;
  readonly control: DeviceBuffer;
  readonly #inference = new Map<string, Inference>();

  /** Stored tensors start as zeros; call `initialize` or `load`. */
  constructor(model: Model, device: Device) {
    this.model = model;
    this.device = device;
    this.parameters = device.allocate(4 * model.parameters.size);
    this.state = device.allocate(4 * model.states.size);
    this.control = device.allocate(controlBytes);
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
   * Writes every stored tensor from `tensors`, which may hold others too.
   * Throws ERR_KW_CHECKPOINT, before anything is written, naming every tensor that is missing or has another shape.
   */
  async load(tensors: ReadonlyMap<string, NamedTensor>): Promise<void> {
    const problems: string[] = [];
    for (const [arena] of this.#arenas()) problems.push(...mismatches(arena, tensors));
    if (problems.length > 0) {
      const shown = problems.slice(0, 8).join('; ');
      const rest = problems.length > 8 ? `; and ${problems.length - 8} more` : '';
      throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `the weights do not fit ${this.model.network}: ${shown}${rest}`);
    }
    for (const [arena, buffer] of this.#arenas()) await writeArena(arena, buffer, tensors);
  }

  /** Writes the whole control block: run-time scalars that are not given become 0. */
  async setControls(values: Controls): Promise<void> {
    await this.control.write(controlBlock(values));
  }

  /** Logits [batch, classes] of images [batch, height, width, 3] with the running statistics. */
  async logits(images: Float32Array, batch: number, height: number, width = height): Promise<Float32Array> {
    const result = { name: 'logits', shape: [batch, this.model.options.classes] };
    const [logits] = await this.#infer(images, [batch, height, width], 'logits', () => [
      inferencePlan(this.model, batch, height, width),
      [result],
    ]);
    return (logits as FeatureMap).data;
  }

  /**
   * Feature maps [batch, h, w, C] at the ends of the given stages, in their order, of images [batch, height, width, 3]; see
   * `Model.forwardStages`. Throws ERR_KW_INVALID_ARGUMENT for a stage that the network does not have, or that is given twice.
   */
  async stages(images: Float32Array, batch: number, height: number, width: number, stages: readonly number[]): Promise<FeatureMap[]> {
    if (stages.length === 0 || new Set(stages).size < stages.length) {
      throw new KernelWarehouseError(
        'ERR_KW_INVALID_ARGUMENT',
        `expected at least one stage, and each once, but received [${stages.join(', ')}]`,
      );
    }
    return this.#infer(images, [batch, height, width], `stages ${stages.join()}`, () =>
      stagesPlan(this.model, batch, height, width, stages),
    );
  }

  /** Runs the plan for `wanted` on images of a size, made at its first use; the results in the order that `plan` gives. */
  async #infer(images: Float32Array, size: readonly number[], wanted: string, plan: () => [Plan, Result[]]): Promise<FeatureMap[]> {
    const expected = [...size, 3];
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

/** Binds those of `places` that the program's plan names. */
export function bindAll(program: Program, places: Readonly<Record<string, DeviceBuffer>>): void {
  const names = new Set(program.plan.buffers.map(({ name }) => name));
  program.bind(Object.fromEntries(Object.entries(places).filter(([name]) => names.has(name))));
}

export function disposeAll(resources: Iterable<Disposable>): void {
  for (const resource of resources) resource[Symbol.dispose]();
}

/** Every tensor of an arena, in PyTorch's order. */
export async function readArena(arena: Arena, buffer: DeviceBuffer): Promise<Map<string, NamedTensor>> {
  const values = new Float32Array(await buffer.read());
  const tensors = new Map<string, NamedTensor>();
  for (const { declaration, offset, size } of arena.entries) {
    const data = new Float32Array(size);
    toLogical(declaration.shape, declaration.channelAxis, values.subarray(offset, offset + size), data);
    tensors.set(declaration.name, { shape: declaration.shape, data });
  }
  return tensors;
}

/** Writes every tensor of an arena from `tensors`; check with `mismatches` first. */
export async function writeArena(arena: Arena, buffer: DeviceBuffer, tensors: ReadonlyMap<string, NamedTensor>): Promise<void> {
  for (const { declaration, offset } of arena.entries) {
    await writeTensor(buffer, declaration, offset, (tensors.get(declaration.name) as NamedTensor).data);
  }
}

/** What keeps `tensors` from filling an arena. */
export function mismatches(arena: Arena, tensors: ReadonlyMap<string, NamedTensor>): string[] {
  const problems: string[] = [];
  for (const { declaration } of arena.entries) {
    const tensor = tensors.get(declaration.name);
    const expected = declaration.shape.join(', ');
    if (!tensor) problems.push(`'${declaration.name}' [${expected}] is missing`);
    else if (tensor.shape.join(', ') !== expected)
      problems.push(`'${declaration.name}' is [${tensor.shape.join(', ')}], expected [${expected}]`);
  }
  return problems;
}

type Stored = Arena['entries'][number]['declaration'];

async function writeTensor(buffer: DeviceBuffer, declaration: Stored, offset: number, values: Float32Array): Promise<void> {
  const physical = new Float32Array(values.length);
  toPhysical(declaration.shape, declaration.channelAxis, values, physical);
  await buffer.write(physical, 4 * offset);
}
