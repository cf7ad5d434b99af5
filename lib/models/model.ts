/** A network with its options: its warehouses and stored tensors, with their places, known before anything runs. */
import type { TensorSource } from '../checkpoint/checkpoint_file.js';
import { KernelWarehouseError } from '../errors.js';
import { Arena } from '../graph/arena.js';
import type { TensorDeclaration } from '../graph/declaration.js';
import { Graph, type Value } from '../graph/graph.js';
import { nodeCost } from '../graph/operation.js';
import { output } from '../graph/ops/copy.js';
import { fuseInference } from '../graph/passes/fuse_inference.js';
import { staticConvolution } from '../layers/convolution.js';
import { type ConvolutionFactory, type ConvolutionSpec, type Implementation, implementations, newContext } from '../layers/layer.js';
import { kernelWarehouse } from '../methods/kernel_warehouse.js';
import type { Variant } from '../methods/method.js';
import type { MethodOptions } from '../methods/options.js';
import type { NetworkOptions, NetworkOutput, Stem } from '../networks/network.js';
import { checkNames, shortly } from '../validation/known_names.js';
import { type Allocation, type AllocationOptions, warehouseOptions } from '../warehouse/index.js';
import { compareTensors, describeMisfit, type LoadOptions, type LoadReport } from './load_report.js';
import { type ModelOptions, modelOptionFields } from './model_options.js';
import { findNetwork, type RegisteredNetwork } from './registry.js';

const defaults: NetworkOptions = {
  classes: 1000,
  stem: 'large',
  dropout: 0,
  dropPath: 0,
  imageSize: 224,
  layerScale: 1e-6,
  headScale: 1,
};

/** Images up to this size get the small stem. */
const largestSmallImage = 64;

/** The stem for images of a size: `small` up to 64 pixels, if the network has one. */
export function suitableStem(network: string, imageSize: number): Stem {
  return imageSize <= largestSmallImage && findNetwork(network).network.stems?.includes('small') ? 'small' : 'large';
}

/** Options for images of a size, if the network's stored tensors depend on it. */
export function imageSizeOption(network: string, imageSize: number): Pick<ModelOptions, 'imageSize'> {
  return findNetwork(network).network.fixedImageSize ? { imageSize } : {};
}

function checkOptions(name: string, { classes, stem, imageSize, headScale, ...rates }: NetworkOptions, stems: readonly Stem[]): void {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_CONFIG', problem);
  };
  if (!Number.isInteger(classes) || classes < 1) fail(`expected a positive whole number of classes but received ${classes}`);
  if (!stems.includes(stem)) fail(`${name}: expected stem ${stems.map((one) => `'${one}'`).join(' or ')} but received '${String(stem)}'`);
  if (!Number.isInteger(imageSize) || imageSize < 1) fail(`expected a positive whole imageSize but received ${imageSize}`);
  if (!(Number.isFinite(headScale) && headScale >= 0)) fail(`expected headScale of at least 0 but received ${headScale}`);
  const { dropout, dropPath, layerScale } = rates;
  for (const [option, value] of Object.entries({ dropout, dropPath })) {
    if (!(value >= 0 && value < 1)) fail(`expected ${option} in [0, 1) but received ${value}`);
  }
  if (!(Number.isFinite(layerScale) && layerScale >= 0)) fail(`expected layerScale of at least 0 but received ${layerScale}`);
}

function checkImplementation(implementation: Implementation): void {
  if (implementations.includes(implementation)) return;
  const expected = implementations.map((one) => `'${one}'`).join(' or ');
  throw new KernelWarehouseError('ERR_KW_CONFIG', `expected implementation ${expected} but received '${String(implementation)}'`);
}

function implementedAs(implementation: Implementation, convolution: ConvolutionFactory): ConvolutionFactory {
  return implementation === 'samplewise' ? convolution : (context, x, spec) => convolution(context, x, { ...spec, implementation });
}

export class Model {
  readonly network: string;
  readonly options: NetworkOptions;
  /** The warehouses; undefined unless this is a KernelWarehouse network. */
  readonly allocation: Allocation | undefined;
  /** Layout of the arena of trained tensors. */
  readonly parameters: Arena;
  /** Layout of the arena of running statistics. */
  readonly states: Arena;
  readonly #registered: RegisteredNetwork;
  readonly #variant: Variant;

  /**
   * Throws ERR_KW_UNKNOWN_NETWORK, ERR_KW_CONFIG for options that the network does not take, ERR_KW_ALLOCATION for impossible warehouses.
   */
  constructor(given: ModelOptions) {
    checkNames(given, Object.keys(modelOptionFields), 'options of Model', 'ERR_KW_CONFIG');
    const { network, warehouse, method: methodOptions, implementation = 'samplewise', ...options } = given;
    if (typeof network !== 'string') {
      throw new KernelWarehouseError('ERR_KW_CONFIG', `options of Model: expected network to be a name, got ${shortly(network)}`);
    }
    if (warehouse !== undefined) checkNames(warehouse, Object.keys(warehouseOptions), 'warehouse options of Model', 'ERR_KW_CONFIG');
    this.#registered = findNetwork(network);
    const { method, network: family } = this.#registered;
    this.network = network;
    this.options = { ...defaults, ...options };
    checkOptions(network, this.options, family.stems ?? ['large']);
    this.#checkOptionsOfMethod(warehouse, methodOptions);
    checkImplementation(implementation);
    const variant = method?.variant({
      network,
      warehouse: { ...family.warehouse, ...warehouse },
      options: { ...family.methodDefaults?.[method.name], ...methodOptions },
      layers: this.#layers(),
    }) ?? { convolution: staticConvolution };
    this.#variant = { ...variant, convolution: implementedAs(implementation, variant.convolution) };
    this.allocation = this.#variant.allocation;
    const graph = new Graph();
    this.forward(graph, this.#sampleInput(graph), false);
    this.parameters = new Arena(graph.parameters.values());
    this.states = new Arena(graph.states.values());
  }

  /** Appends the network to `graph` for images x [N, H, W, 3]; returns logits [N, classes]. */
  forward(graph: Graph, x: Value, training: boolean): Value {
    return this.#build(graph, x, training, this.#variant).logits;
  }

  /**
   * Appends the network to `graph` for images x [N, H, W, 3]; returns the feature maps [N, H, W, C] at the ends of the given stages,
   * counted from 0, for a detection or segmentation head. What only the classifier needs is not computed. Throws ERR_KW_INVALID_ARGUMENT
   * for a stage that the network does not have.
   */
  forwardStages(graph: Graph, x: Value, training: boolean, stages: readonly number[]): Value[] {
    const maps = this.#build(graph, x, training, this.#variant).stages ?? [];
    return stages.map((stage) => {
      const map = maps[stage];
      if (map) return map;
      const known = maps.length > 0 ? `stages 0 to ${maps.length - 1}` : 'no stages';
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `'${this.network}' has ${known}, not stage ${stage}`);
    });
  }

  /** Every stored tensor, trained or not. */
  get declarations(): readonly TensorDeclaration[] {
    return [...this.parameters.entries, ...this.states.entries].map(({ declaration }) => declaration);
  }

  /** How the tensors of a checkpoint fit this model, by name and shape; nothing is read. */
  compare(source: TensorSource): LoadReport {
    return compareTensors(this.declarations, source);
  }

  /**
   * The same report. Throws ERR_KW_CHECKPOINT, naming every tensor that does not fit, if the source cannot be loaded with these options or
   * has no trained tensor of this model.
   */
  checkFit(source: TensorSource, { strict = true, replaced = [] }: LoadOptions = {}): LoadReport {
    const report = this.compare(source);
    const kept = new Set(replaced);
    const wrongShape = report.wrongShape.filter(({ name }) => !kept.has(name));
    const misfit = describeMisfit(strict ? { ...report, wrongShape } : { ...report, wrongShape, missing: [], unexpected: [] });
    const fail = (problem: string): never => {
      const place = source.path === undefined ? '' : `${source.path}: `;
      throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `${place}the weights do not fit ${this.network}: ${problem}`);
    };
    if (misfit !== undefined) fail(misfit);
    const loaded = new Set(report.loaded);
    if (!this.parameters.entries.some(({ declaration }) => loaded.has(declaration.name))) {
      fail(`they have none of its trained tensors; choose the network that they belong to; ${describeMisfit(report)}`);
    }
    return report;
  }

  /** Floating-point operations of one image's inference: convolutions, mixing, and everything else. */
  flops(imageSize: number): number {
    const graph = new Graph();
    output('logits', this.forward(graph, graph.input('images', [1, imageSize, imageSize, 3]), false));
    return fuseInference(graph).nodes.reduce((sum, node) => sum + nodeCost(node).flops, 0);
  }

  #build(graph: Graph, x: Value, training: boolean, { convolution, recalibration }: Variant): NetworkOutput {
    const { network, method } = this.#registered;
    const options = { ...this.options, naming: method?.naming ?? 'static', ...(recalibration ? { recalibration } : {}) } as const;
    const built = network.build(newContext(graph, training), x, convolution, options);
    const expected = [x.shape[0], this.options.classes].join(', ');
    const shape = (built as Partial<NetworkOutput> | undefined)?.logits?.shape;
    if (shape?.join(', ') !== expected) {
      throw new KernelWarehouseError(
        'ERR_KW_SHAPE',
        `'${this.network}': expected logits of shape [N, classes] = [${expected}], but its build function returned ` +
          (shape ? `[${shape.join(', ')}]` : `${shortly(built)} without logits; return { logits }`),
      );
    }
    return built;
  }

  #checkOptionsOfMethod(warehouse: AllocationOptions | undefined, options: MethodOptions | undefined): void {
    const { method, family } = this.#registered;
    const fail = (problem: string): never => {
      throw new KernelWarehouseError(
        'ERR_KW_CONFIG',
        `'${this.network}' is ${method ? `of method ${method.name}` : 'static'} and ${problem}`,
      );
    };
    if (warehouse && method !== kernelWarehouse) fail(`takes no warehouse options; the KernelWarehouse network is 'kw_${family}'`);
    if (options && !method) fail(`takes no options of a method; networks that do are called <method>_${family}`);
    if (options && method === kernelWarehouse) fail("takes its method's options as warehouse options; give them as warehouse");
  }

  #sampleInput(graph: Graph): Value {
    const { imageSize } = this.options;
    return graph.input('images', [1, imageSize, imageSize, 3]);
  }

  /** Every convolution, in module order, found by building the static network once. */
  #layers(): ConvolutionSpec[] {
    const layers: ConvolutionSpec[] = [];
    const convolution: ConvolutionFactory = (context, x, spec) => {
      layers.push(spec);
      return staticConvolution(context, x, spec);
    };
    const graph = new Graph();
    this.#build(graph, this.#sampleInput(graph), false, { convolution });
    return layers;
  }
}
