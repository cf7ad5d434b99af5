/** Sessions on a native device: the graph is lowered to a plan, and every buffer that the plan names is allocated and bound. */
import { Arena } from '../../lib/graph/arena.js';
import type { Graph } from '../../lib/graph/graph.js';
import { lower } from '../../lib/graph/passes/lower.js';
import { type ControlName, controlSlots } from '../../lib/plan/control.js';
import { type DataType, elementBytes } from '../../lib/plan/plan.js';
import type { DeviceBuffer } from '../../lib/runtime/buffer.js';
import { Device } from '../../lib/runtime/device.js';
import type { Program } from '../../lib/runtime/program.js';
import type { NativeDeviceName } from '../devices.js';
import { bitsOf, fromBits } from '../reference/bfloat16.js';
import { elementCount } from '../reference/tensor.js';
import { leafTypes } from './leaves.js';
import type { LeafKind, Machine, Session } from './session.js';

interface Place {
  readonly buffer: DeviceBuffer;
  /** Bytes. */
  readonly offset: number;
  readonly count: number;
  readonly type: DataType;
}

class NativeSession implements Session {
  private readonly device: Device;
  private readonly program: Program;
  private readonly buffers = new Map<string, DeviceBuffer>();
  private readonly parameters: Arena;
  private readonly states: Arena;

  constructor(
    deviceName: NativeDeviceName,
    private readonly graph: Graph,
    name: string,
  ) {
    this.parameters = new Arena(graph.parameters.values());
    this.states = new Arena(graph.states.values());
    this.device = Device.open(deviceName);
    const plan = lower(graph, { name });
    this.program = this.device.prepare(plan);
    for (const { name: buffer, bytes } of plan.buffers.slice(1)) this.buffers.set(buffer, this.device.allocate(bytes));
    this.program.bind(Object.fromEntries(this.buffers));
  }

  async write(kind: LeafKind, name: string, values: ArrayLike<number>): Promise<void> {
    const place = this.place(kind, name);
    // What the plan does not read has no buffer; setting it changes nothing.
    if (!place) return;
    if (values.length !== place.count) throw new Error(`${kind} '${name}' has ${place.count} elements, not ${values.length}`);
    const stored = { int32: Int32Array.from.bind(Int32Array), float32: Float32Array.from.bind(Float32Array), bfloat16: bitsOf };
    await place.buffer.write(stored[place.type](values), place.offset);
  }

  async read(kind: LeafKind, name: string): Promise<Float64Array> {
    const place = this.place(kind, name);
    if (!place) throw new Error(`the plan has no ${kind} '${name}'`);
    const bytes = await place.buffer.read(place.offset, elementBytes[place.type] * place.count);
    if (place.type === 'bfloat16') return fromBits(new Uint16Array(bytes));
    return Float64Array.from(place.type === 'int32' ? new Int32Array(bytes) : new Float32Array(bytes));
  }

  run(): Promise<void> {
    return this.program.run();
  }

  close(): void {
    this.program.dispose();
    for (const buffer of this.buffers.values()) buffer.dispose();
    this.device.dispose();
  }

  private place(kind: LeafKind, name: string): Place | undefined {
    const [bufferName, offset] = this.addressOf(kind, name);
    const buffer = this.buffers.get(bufferName);
    const leaf = leafTypes(this.graph).get(`${kind} ${name}`);
    return buffer && leaf && { buffer, offset, count: elementCount(leaf.shape), type: leaf.type };
  }

  private addressOf(kind: LeafKind, name: string): [buffer: string, offset: number] {
    if (kind === 'parameter' || kind === 'gradient') return [`${kind}s`, 4 * this.parameters.entry(name).offset];
    if (kind === 'state') return ['state', 4 * this.states.entry(name).offset];
    if (kind === 'control') return ['control', controlSlots[name as ControlName].offset];
    return [name, 0];
  }
}

export function nativeMachine(name: NativeDeviceName): Machine {
  return { name, precision: 'float32', prepare: async (graph, planName) => new NativeSession(name, graph, planName) };
}
