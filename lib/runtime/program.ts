/** A plan prepared for a device. */
import { KernelWarehouseError } from '../errors.js';
import type { Plan } from '../plan/plan.js';
import { DeviceBuffer } from './buffer.js';
import type { Device } from './device.js';
import { callNative, callNativeAsync, type NativeProgram } from './native.js';

export interface ProgramMemory {
  /** Bytes of the plan's buffer 0. */
  readonly workspace: number;
  /** Bytes of the largest scratch area that a kernel asked for. */
  readonly scratch: number;
  /** Bytes of the copies of parameters that kernels keep in other layouts. */
  readonly prepared: number;
}

export interface StepTime {
  readonly op: string;
  readonly label: string;
  readonly nanoseconds: number;
}

/**
 * Made by `Device.prepare`. Runs are queued with the device's other work and done in order, never two at a time. A program may be disposed
 * at any time and more than once: queued runs still finish.
 */
export class Program implements Disposable {
  readonly device: Device;
  readonly plan: Plan;
  /** Bytes that this program holds, without the buffers bound to it. */
  readonly memory: ProgramMemory;
  #native: NativeProgram | undefined;

  /** @internal Use `Device.prepare`. */
  constructor(native: NativeProgram, device: Device, plan: Plan) {
    this.#native = native;
    this.device = device;
    this.plan = plan;
    this.memory = callNative(() => native.memory());
  }

  /**
   * Binds buffers by their names in the plan, for runs queued from now on. If one is refused, none are bound. Throws
   * ERR_KW_INVALID_ARGUMENT: an unknown name, a buffer that is too small or belongs to another device; ERR_KW_DISPOSED.
   */
  bind(bindings: Readonly<Record<string, DeviceBuffer>>): this {
    const native = this.#live();
    const entries = Object.entries(bindings);
    for (const [name, buffer] of entries) this.#checkBinding(name, buffer);
    const handles = entries.map(([name, buffer]) => [name, buffer.native] as const);
    for (const [name, handle] of handles) callNative(() => native.bind(name, handle));
    return this;
  }

  /**
   * Queues one run with the buffers bound now; resolves when it is done. If a step fails, it rejects with the step's op, label and shapes.
   * Rejects with ERR_KW_NOT_BOUND if a buffer was never bound, ERR_KW_DISPOSED.
   */
  run(): Promise<void> {
    return callNativeAsync(() => this.#live().run());
  }

  /**
   * A run whose steps are timed one by one, for `stepTimes`. A CPU times every run. A GPU otherwise runs the steps as one recorded graph,
   * so this is slower.
   */
  runTimed(): Promise<void> {
    return callNativeAsync(() => this.#live().runTimed());
  }

  /** How long each step of the last finished run took (of the last timed run on a GPU), in the plan's order; zeros before. */
  stepTimes(): StepTime[] {
    const native = this.#live();
    const nanoseconds = callNative(() => native.stepTimes());
    return this.plan.steps.map(({ op, label }, index) => ({ op, label, nanoseconds: nanoseconds[index] ?? 0 }));
  }

  get disposed(): boolean {
    return this.#native === undefined;
  }

  dispose(): void {
    this.#native?.release();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #live(): NativeProgram {
    if (this.#native === undefined) throw new KernelWarehouseError('ERR_KW_DISPOSED', `The program '${this.plan.name}' was disposed`);
    return this.#native;
  }

  #checkBinding(name: string, buffer: DeviceBuffer): void {
    const known = this.plan.buffers.slice(1);
    const specification = known.find((candidate) => candidate.name === name);
    if (specification === undefined) {
      const names = known.map((candidate) => `'${candidate.name}'`).join(', ');
      invalid(`Program '${this.plan.name}' has no buffer '${name}' to bind; it has ${names || 'none'}`);
    }
    if (!(buffer instanceof DeviceBuffer)) invalid(`'${name}' of program '${this.plan.name}' must be bound to a DeviceBuffer`);
    if (buffer.device !== this.device) {
      invalid(`The buffer for '${name}' belongs to another device than program '${this.plan.name}'`);
    }
    if (buffer.bytes < specification.bytes) {
      invalid(`The buffer for '${name}' of program '${this.plan.name}' needs ${specification.bytes} bytes, but has ${buffer.bytes}`);
    }
  }
}

function invalid(message: string): never {
  throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', message);
}
