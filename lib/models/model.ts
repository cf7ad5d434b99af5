/** A network with its options: its warehouses, its stored tensors and their places, known before anything runs. */
import { KernelWarehouseError } from '../errors.js';
import { Arena } from '../graph/arena.js';
import { Graph, type Value } from '../graph/graph.js';
import { nodeCost } from '../graph/operation.js';
import { output } from '../graph/ops/copy.js';
import { fuseMixing } from '../graph/passes/fuse_mixing.js';
import { staticConvolution } from '../layers/convolution.js';
import { kernelWarehouseConvolution } from '../layers/kernel_warehouse.js';
import { type ConvolutionFactory, layerShape, newContext } from '../layers/layer.js';
import { type Allocation, type AllocationOptions, allocate, type LayerShape } from '../warehouse/index.js';
import type { NetworkOptions } from './network.js';
import { findNetwork, type RegisteredNetwork } from './registry.js';

export interface ModelOptions extends Partial<NetworkOptions> {
  /** An official network name, such as `kw_resnet18`. */
  readonly network: string;
  /** How warehouses are made; only for KernelWarehouse networks. */
  readonly warehouse?: AllocationOptions;
}

const defaults: NetworkOptions = { classes: 1000, stem: 'large', dropout: 0, dropPath: 0 };

/** Any image that the network takes; shapes of stored tensors do not depend on it. */
const smallestImage = { small: 32, large: 64 } as const;

export class Model {
  readonly network: string;
  readonly options: NetworkOptions;
  /** The warehouses; undefined for a static network. */
  readonly allocation: Allocation | undefined;
  /** Layout of the arena of trained tensors. */
  readonly parameters: Arena;
  /** Layout of the arena of running statistics. */
  readonly states: Arena;
  readonly #registered: RegisteredNetwork;
  readonly #convolution: ConvolutionFactory;

  constructor({ network, warehouse, ...options }: ModelOptions) {
    this.#registered = findNetwork(network);
    this.network = network;
    this.options = { ...defaults, ...options };
    const { classes, stem, dropout, dropPath } = this.options;
    if (!Number.isInteger(classes) || classes < 1) {
      throw new KernelWarehouseError('ERR_KW_CONFIG', `expected a positive whole number of classes but received ${classes}`);
    }
    if (stem !== 'small' && stem !== 'large')
      throw new KernelWarehouseError('ERR_KW_CONFIG', `expected stem 'small' or 'large' but received '${String(stem)}'`);
    for (const [name, value] of Object.entries({ dropout, dropPath })) {
      if (!(value >= 0 && value < 1)) throw new KernelWarehouseError('ERR_KW_CONFIG', `expected ${name} in [0, 1) but received ${value}`);
    }
    if (!this.#registered.kernelWarehouse && warehouse) {
      throw new KernelWarehouseError(
        'ERR_KW_CONFIG',
        `'${network}' is static and takes no warehouse options; the KernelWarehouse network is 'kw_${network}'`,
      );
    }
    const { kernelWarehouse, network: family } = this.#registered;
    this.allocation = kernelWarehouse ? allocate(this.#layerShapes(), { sharingRange: family.sharingRange, ...warehouse }) : undefined;
    this.#convolution = this.allocation ? kernelWarehouseConvolution(this.allocation) : staticConvolution;
    const graph = new Graph();
    this.forward(graph, this.#sampleInput(graph), false);
    this.parameters = new Arena(graph.parameters.values());
    this.states = new Arena(graph.states.values());
  }

  /** Appends the network to `graph` for images x [N, H, W, 3]; returns logits [N, classes]. */
  forward(graph: Graph, x: Value, training: boolean): Value {
    return this.#registered.network.build(newContext(graph, training), x, this.#convolution, this.options);
  }

  /** Floating-point operations of one image's inference: convolutions, mixing, and everything else. */
  flops(imageSize: number): number {
    const graph = new Graph();
    output('logits', this.forward(graph, graph.input('images', [1, imageSize, imageSize, 3]), false));
    return fuseMixing(graph).nodes.reduce((sum, node) => sum + nodeCost(node).flops, 0);
  }

  #sampleInput(graph: Graph): Value {
    const size = smallestImage[this.options.stem];
    return graph.input('images', [1, size, size, 3]);
  }

  /** The layers that take part in warehouses, in module order, found by building the static network once. */
  #layerShapes(): LayerShape[] {
    const shapes: LayerShape[] = [];
    const record: ConvolutionFactory = (context, x, spec) => {
      if (spec.sharingName !== undefined) shapes.push(layerShape(spec, spec.sharingName));
      return staticConvolution(context, x, spec);
    };
    const graph = new Graph();
    this.#registered.network.build(newContext(graph, false), this.#sampleInput(graph), record, this.options);
    return shapes;
  }
}
