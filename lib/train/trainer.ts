/**
 * Runs training steps of a model instance, in its precision. Owns what only training needs: gradients, optimizer state, and a program for
 * each batch size.
 */

import { type TensorSource, withoutPrefix } from '../checkpoint/checkpoint_file.js';
import { KernelWarehouseError } from '../errors.js';
import { describeArenaMisfit, type NamedTensor, readArena, writeArena } from '../models/arenas.js';
import { optimizerPrefix } from '../models/ignored_tensors.js';
import type { Controls, ModelInstance } from '../models/instance.js';
import { type OptimizerOptions, optimizerArenas, trainingPlan } from '../models/training_plan.js';
import { bindAll, disposeAll } from '../runtime/binding.js';
import type { DeviceBuffer } from '../runtime/buffer.js';
import type { Program } from '../runtime/program.js';

export interface TrainerOptions {
  readonly optimizer: OptimizerOptions;
  readonly labelSmoothing: number;
}

export interface StepInput {
  /** [size, imageSize, imageSize, 3] */
  readonly images: Float32Array;
  /** [size] class indices. */
  readonly targets: Int32Array;
  readonly imageSize: number;
  readonly controls: Controls;
}

export interface StepResult {
  readonly loss: number;
  /** Norm of all gradients together. */
  readonly gradientNorm: number;
  /** [size, classes] */
  readonly logits: Float32Array;
}

type Inputs = Readonly<Record<'images' | 'targets', DeviceBuffer>>;

interface Prepared extends Disposable {
  readonly program: Program;
  /** Two that take turns: a GPU copies a batch into one while it computes with the other. */
  readonly inputs: Inputs[];
  readonly outputs: Readonly<Record<'loss' | 'logits' | 'gradientSquares', DeviceBuffer>>;
}

export class Trainer implements Disposable {
  readonly instance: ModelInstance;
  readonly options: TrainerOptions;
  /** Arenas with the shape of the parameters: gradients, and those of the optimizer by name. */
  readonly #arenas: Readonly<Record<string, DeviceBuffer>>;
  readonly #prepared = new Map<string, Prepared>();

  constructor(instance: ModelInstance, options: TrainerOptions) {
    this.instance = instance;
    this.options = options;
    const bytes = 4 * instance.model.parameters.size;
    const names = ['gradients', ...optimizerArenas(options.optimizer)];
    this.#arenas = Object.fromEntries(names.map((name) => [name, instance.device.allocate(bytes)]));
  }

  /**
   * One optimizer step. Batches may have any size; a program is prepared at the first use of a size. The next step may be queued before
   * this one's result is there.
   */
  async step({ images, targets, imageSize, controls }: StepInput): Promise<StepResult> {
    const { program, inputs, outputs } = this.#program(targets.length, imageSize);
    const places = inputs.shift() as Inputs;
    inputs.push(places);
    program.bind(places);
    const queued = [places.images.write(images), places.targets.write(targets), this.instance.setControls(controls), program.run()];
    const reads = [outputs.loss.read(), outputs.gradientSquares.read(), outputs.logits.read()] as const;
    const [loss, squares, logits] = (await Promise.all([Promise.all(reads), ...queued]))[0];
    return {
      loss: new Float32Array(loss)[0] as number,
      gradientNorm: Math.sqrt(new Float32Array(squares)[0] as number),
      logits: new Float32Array(logits),
    };
  }

  /** The optimizer's tensors, named `optimizer.<arena>.<parameter>`. */
  async save(): Promise<Map<string, NamedTensor>> {
    const tensors = new Map<string, NamedTensor>();
    for (const arena of optimizerArenas(this.options.optimizer)) {
      for (const [name, tensor] of await readArena(this.instance.model.parameters, this.#arena(arena)))
        tensors.set(`${optimizerPrefix}${arena}.${name}`, tensor);
    }
    return tensors;
  }

  /** Writes the optimizer's tensors back; throws ERR_KW_CHECKPOINT, before an arena is written, if they do not fit it. */
  async load(source: TensorSource): Promise<void> {
    const layout = this.instance.model.parameters;
    for (const arena of optimizerArenas(this.options.optimizer)) {
      const own = withoutPrefix(source, `${optimizerPrefix}${arena}.`);
      const misfit = describeArenaMisfit(layout, own);
      if (misfit !== undefined) {
        throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `the optimizer's state does not fit: ${optimizerPrefix}${arena}: ${misfit}`);
      }
      await writeArena(layout, this.#arena(arena), own);
    }
  }

  #arena(name: string): DeviceBuffer {
    return this.#arenas[name] as DeviceBuffer;
  }

  #program(batch: number, imageSize: number): Prepared {
    const key = `${batch}x${imageSize}`;
    let prepared = this.#prepared.get(key);
    if (!prepared) {
      const { device, model, precision, parameters, state, control } = this.instance;
      const program = device.prepare(trainingPlan(model, { batch, imageSize, ...this.options, precision }));
      const inputs = Array.from({ length: device.isAsynchronous ? 2 : 1 }, () => ({
        images: device.allocate(4 * batch * imageSize * imageSize * 3),
        targets: device.allocate(4 * batch),
      }));
      const outputs = {
        loss: device.allocate(4),
        logits: device.allocate(4 * batch * model.options.classes),
        gradientSquares: device.allocate(4),
      };
      bindAll(program, { ...(inputs[0] as Inputs), ...outputs, ...this.#arenas, parameters, state, control });
      const owned = [program, ...inputs.flatMap((places) => Object.values(places)), ...Object.values(outputs)];
      prepared = { program, inputs, outputs, [Symbol.dispose]: () => disposeAll(owned) };
      this.#prepared.set(key, prepared);
    }
    return prepared;
  }

  dispose(): void {
    disposeAll([...this.#prepared.values(), ...Object.values(this.#arenas)]);
    this.#prepared.clear();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
