/** What every layer is built with, and what a convolution factory is: the interface between networks and kinds of convolution. */
import { KernelWarehouseError } from '../errors.js';
import type { Graph, Value } from '../graph/graph.js';
import { type LayerKind, type LayerShape, spatialDimensions } from '../warehouse/index.js';

/** The state of building a network: the graph to append to, and whether batch statistics and random layers are those of training. */
export interface LayerContext {
  readonly graph: Graph;
  readonly training: boolean;
  /** Returns a number that no other random layer of this network has. */
  readonly nextStream: () => number;
}

/** The role of a convolution in its network, for methods that treat such convolutions differently. */
export type ConvolutionRole = 'stem' | 'shortcut' | 'classifier';

/** A residual block, from its input to the addition. */
export interface BlockPlace {
  /** The official name, such as `layer1.0`. */
  readonly name: string;
  /** [N, H, W, C] */
  readonly input: Value;
}

/** The complete description of one convolution or linear layer; made by `convolutionSpec`. */
export interface ConvolutionSpec {
  /** The official module name, such as `layer1.0.conv1`. */
  readonly name: string;
  readonly kind: LayerKind;
  /** Over all groups. */
  readonly inChannels: number;
  readonly outChannels: number;
  /**
   * One number for each spatial dimension ([depth,] [height,] width), as for stride, padding and dilation; a linear layer has one of each.
   */
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly padding: readonly number[];
  readonly dilation: readonly number[];
  readonly groups: number;
  readonly bias: boolean;
  /** Standard deviation of the initial values of a static weight; absent: Kaiming's for a convolution, PyTorch's for a linear layer. */
  readonly deviation?: number;
  /** The layer's place for warehouse sharing, such as `stage0_layer1_conv0`; absent for a layer that is always static. */
  readonly sharingName?: string;
  /**
   * The layer before which the authors' code creates this one, if layers are created in another order than they are used. The order of
   * creation numbers the warehouses.
   */
  readonly createdBefore?: string;
  /** Absent for an ordinary convolution, and in networks that do not tell roles; see `Network.tells`. */
  readonly role?: ConvolutionRole;
  /** The residual block to which the convolution belongs, including its shortcut. */
  readonly block?: BlockPlace;
  /** How weights of single samples are applied; absent: sample by sample. */
  readonly implementation?: Implementation;
}

/**
 * How a layer applies weights of single samples. `samplewise`: by ops made for this. `grouped`: by one static convolution with the batch
 * folded into its groups, as in public PyTorch code, for comparison.
 */
export type Implementation = (typeof implementations)[number];
export const implementations = ['samplewise', 'grouped'] as const;

/**
 * Appends one convolution (or linear layer) to the graph. The kind of dynamic convolution is injected into a network as such a function.
 */
export type ConvolutionFactory = (context: LayerContext, x: Value, spec: ConvolutionSpec) => Value;

/**
 * Appends what a method does to the output y [N, H, W, C] of a residual block, after its last norm and before the addition. The result has
 * the shape of y. `name` is the official name of the block, such as `layer1.0`.
 */
export type Recalibration = (context: LayerContext, y: Value, name: string) => Value;

/**
 * What a network may tell about its layers: the role of a convolution, the block of a convolution (`ConvolutionSpec.role` and `.block`),
 * and `recalibration`: that it calls the function of that name in its build options.
 */
export type NetworkFeature = ConvolutionRole | 'block' | 'recalibration';

/**
 * Whose names and shapes the tensors follow: those of the official code of the static network, or of its KernelWarehouse variant. They
 * differ in MobileNetV2 (the classifier), ConvNeXt (linear layers or 1x1 convolutions) and DeiT (the value projection).
 */
export type TensorNaming = 'static' | 'kernel_warehouse';

/** A number for all spatial dimensions, or a list with one for each. */
type Sizes = number | readonly number[];

export interface ConvolutionSpecOptions
  extends Pick<ConvolutionSpec, 'name' | 'inChannels' | 'outChannels' | 'deviation' | 'sharingName' | 'createdBefore' | 'role' | 'block'>,
    Partial<Pick<ConvolutionSpec, 'kind' | 'groups' | 'bias'>> {
  readonly kernel?: Sizes;
  readonly stride?: Sizes;
  readonly padding?: Sizes;
  readonly dilation?: Sizes;
}

/**
 * A specification with PyTorch's defaults: conv2d, kernel 1, stride 1, no padding, dilation 1, one group, no bias.
 * @throws ERR_KW_INVALID_ARGUMENT for an unknown kind, for sizes that are not integers in range or not as many as there are spatial
 *   dimensions, and for a linear layer with a kernel, a stride, padding or dilation.
 */
export function convolutionSpec(options: ConvolutionSpecOptions): ConvolutionSpec {
  const { kind = 'conv2d', kernel = 1, stride = 1, padding = 0, dilation = 1, groups = 1, bias = false, ...rest } = options;
  const invalid = (message: string) => new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `layer ${rest.name}: ${message}`);
  if (!Object.hasOwn(spatialDimensions, kind)) {
    throw invalid(`expected kind to be ${Object.keys(spatialDimensions).join(', ')} but received ${kind}`);
  }
  const dimensions = spatialDimensions[kind];
  const sizes = (field: string, value: Sizes, least: 0 | 1): readonly number[] => {
    const list = typeof value === 'number' ? new Array<number>(dimensions).fill(value) : value;
    const came = typeof value === 'number' ? value : `[${value.join(', ')}]`;
    if (list.length !== dimensions || list.some((size) => !Number.isSafeInteger(size) || size < least)) {
      throw invalid(`expected ${field} to be a whole number of at least ${least}, or ${dimensions} for ${kind}, but received ${came}`);
    }
    if (kind === 'linear' && list.some((size) => size !== least)) {
      throw invalid(`expected ${field} to be left out, because a linear layer has none, but received ${came}`);
    }
    return list;
  };
  return {
    ...rest,
    kind,
    kernel: sizes('kernel', kernel, 1),
    stride: sizes('stride', stride, 1),
    padding: sizes('padding', padding, 0),
    dilation: sizes('dilation', dilation, 1),
    groups,
    bias,
  };
}

/** What a warehouse needs to know about a layer that joins it under `sharingName`. */
export function layerShape(
  { name, kind, inChannels, outChannels, kernel, groups, bias }: ConvolutionSpec,
  sharingName: string,
): LayerShape {
  return { name, kind, inChannels, outChannels, groups, bias, sharingName, ...(kind === 'linear' ? {} : { kernel }) };
}

export function newContext(graph: Graph, training: boolean): LayerContext {
  let streams = 0;
  return { graph, training, nextStream: () => streams++ };
}
