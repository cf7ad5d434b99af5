/** What a benchmark times: a network's inference or training step, or a large matrix product as the machine's own rate. */
import { Graph } from '../graph/graph.js';
import { nodeCost } from '../graph/operation.js';
import { output } from '../graph/ops/copy.js';
import { matmul } from '../graph/ops/matmul.js';
import { fuseTraining } from '../graph/passes/fuse_training.js';
import { lower } from '../graph/passes/lower.js';
import { bindAll, disposeAll, inferencePlan, ModelInstance } from '../models/instance.js';
import { Model, type ModelOptions } from '../models/model.js';
import { trainingGraph, trainingPlan } from '../models/training_plan.js';
import { controlBlock } from '../plan/control.js';
import type { Plan } from '../plan/plan.js';
import { RandomStream } from '../random.js';
import type { DeviceBuffer } from '../runtime/buffer.js';
import type { Device } from '../runtime/device.js';
import type { StepTime } from '../runtime/program.js';

export interface Contestant extends Disposable {
  readonly name: string;
  /** Images of one run; 0 where that has no meaning. */
  readonly images: number;
  /** Floating-point operations of one run; a multiply-add counts as two. */
  readonly flops: number;
  /** Bytes on the device, all buffers included. */
  readonly bytes: number;
  /** One run, to its end. */
  run(): Promise<void>;
  /** Time of each step of the last run, in the plan's order. */
  stepTimes(): readonly StepTime[];
}

interface Prepared {
  readonly name: string;
  readonly images: number;
  readonly flops: number;
  readonly plan: Plan;
  /** What the plan reads besides zeros, by buffer name. */
  readonly contents: Readonly<Record<string, ArrayBufferView>>;
  /** Buffers that exist already. */
  readonly existing?: Readonly<Record<string, DeviceBuffer>>;
  readonly owned?: Disposable;
}

async function prepare(device: Device, { name, images, flops, plan, contents, existing = {}, owned }: Prepared): Promise<Contestant> {
  const program = device.prepare(plan);
  const places: Record<string, DeviceBuffer> = { ...existing };
  const allocated: DeviceBuffer[] = [];
  for (const { name: buffer, bytes } of plan.buffers.slice(1)) {
    if (places[buffer]) continue;
    const place = device.allocate(bytes);
    allocated.push(place);
    places[buffer] = place;
  }
  for (const [buffer, values] of Object.entries(contents)) await places[buffer]?.write(values);
  bindAll(program, places);
  const { workspace, scratch, prepared } = program.memory;
  return {
    name,
    images,
    flops,
    bytes: workspace + scratch + prepared + Object.values(places).reduce((sum, place) => sum + place.bytes, 0),
    run: () => program.run(),
    stepTimes: () => program.stepTimes(),
    [Symbol.dispose]: () => disposeAll([program, ...allocated, ...(owned ? [owned] : [])]),
  };
}

function randomValues(count: number, name: string): Float32Array {
  const random = new RandomStream(0, name);
  return Float32Array.from({ length: count }, () => random.uniform(-1, 1));
}

const gemmSize = 2048;

/** A float32 matrix product of 2048 x 2048 x 2048: what the machine does at its best. */
export function gemmContestant(device: Device): Promise<Contestant> {
  const graph = new Graph();
  const shape = [gemmSize, gemmSize];
  output('c', matmul(graph.input('a', shape), graph.input('b', shape)));
  const values = randomValues(gemmSize * gemmSize, 'gemm');
  return prepare(device, {
    name: `GEMM ${gemmSize}`,
    images: 0,
    flops: 2 * gemmSize ** 3,
    plan: lower(graph, { name: 'gemm' }),
    contents: { a: values, b: values },
  });
}

export interface NetworkContestant {
  readonly name: string;
  readonly model: ModelOptions;
  readonly batch: number;
  readonly imageSize: number;
  readonly training: boolean;
}

/** A network's inference, or its training step by SGD with a learning rate of 0 (the work is the same, the weights stay sane). */
export async function networkContestant(
  device: Device,
  { name, model: options, batch, imageSize, training }: NetworkContestant,
): Promise<Contestant> {
  const instance = new ModelInstance(new Model(options), device);
  await instance.initialize(0);
  const { model, parameters, state, control } = instance;
  const trainingOptions = { batch, imageSize, optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false }, labelSmoothing: 0.1 } as const;
  const plan = training ? trainingPlan(model, trainingOptions) : inferencePlan(model, batch, imageSize);
  const flops = training
    ? fuseTraining(trainingGraph(model, trainingOptions)).nodes.reduce((sum, node) => sum + nodeCost(node).flops, 0)
    : batch * model.flops(imageSize);
  return prepare(device, {
    name,
    images: batch,
    flops,
    plan,
    contents: { images: randomValues(batch * imageSize * imageSize * 3, 'images'), control: controlBlock({ step: 1 }) },
    existing: { parameters, state, control },
    owned: instance,
  });
}
