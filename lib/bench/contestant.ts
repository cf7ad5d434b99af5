/** What a benchmark times: a network's inference or training step, and the machine's own rates, as a matrix product and a copy. */
import { Graph } from '../graph/graph.js';
import { conv2d } from '../graph/ops/conv2d.js';
import { output } from '../graph/ops/copy.js';
import { matmul } from '../graph/ops/matmul.js';
import { reshape } from '../graph/ops/reshape.js';
import { lower } from '../graph/passes/lower.js';
import type { Precision } from '../graph/passes/precision.js';
import { inferencePlan, ModelInstance } from '../models/instance.js';
import { Model } from '../models/model.js';
import type { ModelOptions } from '../models/model_options.js';
import { trainingPlan } from '../models/training_plan.js';
import type { Plan } from '../plan/plan.js';
import { RandomStream } from '../random.js';
import { bindAll, disposeAll } from '../runtime/binding.js';
import type { DeviceBuffer } from '../runtime/buffer.js';
import type { Device } from '../runtime/device.js';
import { type StepCost, stepCosts } from './step_costs.js';

export const modes = ['inference', 'training'] as const;
export type Mode = (typeof modes)[number];

/** One network as it will be timed; plain JSON. */
export interface NetworkCase {
  /** What the user calls the network. */
  readonly name: string;
  readonly model: ModelOptions;
  readonly mode: Mode;
  readonly precision: Precision;
  readonly batch: number;
  /** Height and width in pixels. */
  readonly imageSize: number;
}

export interface Contestant extends Disposable {
  readonly name: string;
  /** Images of one run; 0 if it has none. */
  readonly images: number;
  /** What each step computes and moves, in the plan's order. */
  readonly steps: readonly StepCost[];
  /** Planned bytes on the device: all buffers, the largest scratch area, and converted copies of parameters. */
  readonly bytes: number;
  /** How many runs are queued together, so that a device that need not wait for each is never idle in between. */
  readonly runsInFlight: number;
  /** Whether every run is a timed one. */
  readonly timesEveryRun: boolean;
  /** One run, to its end. */
  run(): Promise<void>;
  /** One run whose steps are timed one by one. */
  runTimed(): Promise<void>;
  /** Nanoseconds of each step of the last timed run, in the plan's order. */
  stepNanoseconds(): readonly number[];
}

interface Prepared {
  readonly name: string;
  readonly images: number;
  readonly plan: Plan;
  /** The contents of buffers other than zeros, by name; repeated to fill the buffer. */
  readonly contents: Readonly<Record<string, Float32Array | Uint16Array>>;
  /** Buffers that exist already. */
  readonly existing?: Readonly<Record<string, DeviceBuffer>>;
}

async function prepare(device: Device, { name, images, plan, contents, existing = {} }: Prepared): Promise<Contestant> {
  const resources: Disposable[] = [];
  try {
    const program = device.prepare(plan);
    resources.push(program);
    const places: Record<string, DeviceBuffer> = { ...existing };
    for (const { name: buffer, bytes } of plan.buffers.slice(1)) {
      if (places[buffer]) continue;
      const place = device.allocate(bytes);
      resources.push(place);
      places[buffer] = place;
      // Pages that were never written are all the same page of zeros, which would be read from the cache.
      await place.fill();
    }
    for (const [buffer, values] of Object.entries(contents)) await fillWith(places[buffer] as DeviceBuffer, values);
    bindAll(program, places);
    const { workspace, scratch, prepared } = program.memory;
    return {
      name,
      images,
      steps: stepCosts(plan),
      bytes: workspace + scratch + prepared + Object.values(places).reduce((sum, place) => sum + place.bytes, 0),
      runsInFlight: device.isAsynchronous ? 8 : 1,
      timesEveryRun: !device.isAsynchronous,
      run: () => program.run(),
      runTimed: () => program.runTimed(),
      stepNanoseconds: () => program.stepTimes().map(({ nanoseconds }) => nanoseconds),
      [Symbol.dispose]: () => disposeAll(resources),
    };
  } catch (error) {
    disposeAll(resources);
    throw error;
  }
}

async function fillWith(buffer: DeviceBuffer, values: Float32Array | Uint16Array): Promise<void> {
  for (let offset = 0; offset < buffer.bytes; offset += values.byteLength) {
    await buffer.write(values.subarray(0, (buffer.bytes - offset) / values.BYTES_PER_ELEMENT), offset);
  }
}

/** So few that they add nothing to the memory that is measured. */
const randomCount = 2 ** 16;

function randomValues(name: string): Float32Array {
  const random = new RandomStream(0, name);
  const values = new Float32Array(randomCount);
  for (let index = 0; index < randomCount; index++) values[index] = random.uniform(-1, 1);
  return values;
}

const gemmSize = 2048;

const oneInBfloat16 = 0x3f80;

/** A matrix product of 2048 x 2048 x 2048: the most that the machine computes in a precision. */
export function gemmContestant(device: Device, precision: Precision): Promise<Contestant> {
  const graph = new Graph();
  const shape = [gemmSize, gemmSize];
  const b = graph.input('b', shape);
  if (precision === 'float32') {
    output('c', matmul(graph.input('a', shape), b));
  } else {
    // The product of activations and a weight is a convolution of one position.
    const a = graph.input('a', [1, gemmSize, 1, gemmSize], precision);
    output('c', conv2d(a, reshape(b, [gemmSize, 1, 1, gemmSize])));
  }
  const values = randomValues('gemm');
  return prepare(device, {
    name: `${precision} matrix product`,
    images: 0,
    plan: lower(graph, { name: 'gemm' }),
    contents: { a: precision === 'float32' ? values : new Uint16Array(values.length).fill(oneInBfloat16), b: values },
  });
}

/** More than the caches hold; read once and written once. */
const copiedBytes = 2 ** 28;

/** A copy of 256 MiB: the most that the memory moves. */
export function copyContestant(device: Device): Promise<Contestant> {
  const graph = new Graph();
  output('destination', graph.input('source', [copiedBytes / 4]));
  return prepare(device, { name: 'copy', images: 0, plan: lower(graph, { name: 'copy' }), contents: {} });
}

/** The plan that is timed; a training step is SGD's. */
export function networkPlan(model: Model, { mode, precision, batch, imageSize }: NetworkCase): Plan {
  if (mode === 'inference') return inferencePlan(model, batch, imageSize, imageSize, precision);
  return trainingPlan(model, {
    batch,
    imageSize,
    precision,
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false },
    labelSmoothing: 0.1,
  });
}

/** Bytes of the plan's buffers. Kernels may add scratch areas and converted copies. Nothing is allocated to find out. */
export function leastBytes(network: NetworkCase): number {
  return networkPlan(new Model(network.model), network).buffers.reduce((sum, { bytes }) => sum + bytes, 0);
}

/**
 * Prepares a network. In training the learning rate is 0: the work is the same, and the weights stay finite. Throws ERR_KW_SHAPE for images
 * that are too small, ERR_KW_OUT_OF_MEMORY, and what `Model` throws.
 */
export async function networkContestant(device: Device, network: NetworkCase): Promise<Contestant> {
  const { name, batch } = network;
  const model = new Model(network.model);
  const plan = networkPlan(model, network);
  const instance = new ModelInstance(model, device);
  try {
    await instance.initialize(0);
    await instance.setControls({ step: 1 });
    const { parameters, state, control } = instance;
    const contestant = await prepare(device, {
      name,
      images: batch,
      plan,
      contents: { images: randomValues('images') },
      existing: { parameters, state, control },
    });
    return { ...contestant, [Symbol.dispose]: () => disposeAll([contestant, instance]) };
  } catch (error) {
    instance.dispose();
    throw error;
  }
}
