/** An append-only graph of typed nodes. A network is described once, as a graph; everything else is computed from it. */
import { KernelWarehouseError } from '../errors.js';
import { type ControlName, controlSlots } from '../plan/control.js';
import type { DataType } from '../plan/plan.js';
import { type ChannelAxis, type Initialization, physicalShape, type TensorDeclaration } from './declaration.js';
import type { Attributes, Inputs, Operation } from './operation.js';
import { type LeafAttributes, leaf } from './ops/leaf.js';

/** One output of one node. */
export interface Value {
  readonly graph: Graph;
  readonly node: Node;
  readonly index: number;
  readonly type: DataType;
  /** Physical, row-major: activations are [N, H, W, C]. */
  readonly shape: readonly number[];
}

export interface Node {
  readonly id: number;
  readonly op: Operation;
  /** The layer that the node belongs to. */
  readonly label: string;
  readonly inputs: Inputs;
  readonly attributes: Attributes;
  readonly outputs: readonly Value[];
}

export interface DeclarationOptions {
  /**
   * The axis of PyTorch's order that is stored last (1 for convolution weights, 2 for cells); absent for tensors that are stored in
   * PyTorch's order.
   */
  readonly channelAxis?: ChannelAxis;
  readonly initialization: Initialization;
}

export class Graph {
  readonly nodes: Node[] = [];
  /** Trained tensors in the order of their first use. */
  readonly parameters = new Map<string, TensorDeclaration>();
  /** Tensors that persist but are not trained (running statistics). */
  readonly states = new Map<string, TensorDeclaration>();
  #leaves = new Map<string, Value>();
  #label = '';

  /** Appends a node. Ops call it; users call the functions in `ops/`. */
  append(op: Operation, inputs: Inputs, attributes: Attributes, label = this.#label): readonly Value[] {
    for (const value of inputs) {
      if (value && value.graph !== this) {
        throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `[${op.name}] an input belongs to another graph`);
      }
    }
    const outputs: Value[] = [];
    const node: Node = { id: this.nodes.length, op, label, inputs, attributes, outputs };
    try {
      op.infer(inputs, attributes).forEach(({ type, shape }, index) => outputs.push({ graph: this, node, index, type, shape }));
    } catch (error) {
      if (label && error instanceof KernelWarehouseError) throw new KernelWarehouseError(error.code, `${label}: ${error.message}`);
      throw error;
    }
    this.nodes.push(node);
    return outputs;
  }

  /** Runs `build` with every node labelled `label` (a layer's official name). */
  labelled<T>(label: string, build: () => T): T {
    const outer = this.#label;
    this.#label = label;
    try {
      return build();
    } finally {
      this.#label = outer;
    }
  }

  /** An input of each run, in a buffer with this name. */
  input(name: string, shape: readonly number[], type: DataType = 'float32'): Value {
    return this.#leaf({ kind: 'input', name, type, shape });
  }

  /** A trained tensor. `shape` is in PyTorch's order. Asking twice for a name gives the same value. */
  parameter(name: string, shape: readonly number[], options: DeclarationOptions): Value {
    return this.#declared('parameter', this.parameters, name, shape, options);
  }

  /** A tensor that persists between runs without being trained. `shape` is in PyTorch's order. */
  state(name: string, shape: readonly number[], options: DeclarationOptions): Value {
    return this.#declared('state', this.states, name, shape, options);
  }

  /** A run-time scalar of the control block. */
  control(name: ControlName): Value {
    return this.#leaf({ kind: 'control', name, type: controlSlots[name].type, shape: [] });
  }

  /** The place of a parameter's gradient in the `gradients` arena. */
  gradientOf(parameter: Value): Value {
    const { kind, name } = parameter.node.attributes as unknown as LeafAttributes;
    if (kind !== 'parameter') throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `'${name}' is not a parameter`);
    return this.#leaf({ kind: 'gradient', name, type: 'float32', shape: parameter.shape });
  }

  /** A whole arena (`parameters`, `gradients`, `momentum`, ...) as one flat tensor; its size is that of all parameters. */
  arena(name: string, size: number): Value {
    return this.#leaf({ kind: 'arena', name, type: 'float32', shape: [size] });
  }

  /** The place of a result, in a buffer with this name. */
  outputPlace(name: string, type: DataType, shape: readonly number[]): Value {
    return this.#leaf({ kind: 'output', name, type, shape });
  }

  #declared(
    kind: 'parameter' | 'state',
    declarations: Map<string, TensorDeclaration>,
    name: string,
    shape: readonly number[],
    options: DeclarationOptions,
  ): Value {
    const known = declarations.get(name);
    if (known && known.shape.join() !== shape.join()) {
      throw new KernelWarehouseError(
        'ERR_KW_SHAPE',
        `'${name}' was declared with shape [${known.shape.join(', ')}] and now with [${shape.join(', ')}]`,
      );
    }
    const declaration: TensorDeclaration = known ?? { name, shape, ...options };
    declarations.set(name, declaration);
    return this.#leaf({ kind, name, type: 'float32', shape: physicalShape(declaration) });
  }

  #leaf(attributes: LeafAttributes): Value {
    const key = `${attributes.kind} ${attributes.name}`;
    let value = this.#leaves.get(key);
    if (!value) {
      value = this.append(leaf, [], attributes as unknown as Attributes, attributes.name)[0] as Value;
      this.#leaves.set(key, value);
    }
    return value;
  }
}
