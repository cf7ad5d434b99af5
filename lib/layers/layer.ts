/** What every layer is built with, and what a convolution factory is: the seam between models and kinds of convolution. */
import type { Graph, Value } from '../graph/graph.js';

/** How a network is being built: the graph to append to, and whether batch statistics and random layers are those of training. */
export interface LayerContext {
  readonly graph: Graph;
  readonly training: boolean;
  /** A number that no other random layer of this network has. */
  readonly nextStream: () => number;
}

export interface ConvolutionSpec {
  /** The official module name, such as `layer1.0.conv1`. */
  readonly name: string;
  readonly kind: 'conv2d' | 'linear';
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: number;
  readonly stride: number;
  readonly padding: number;
  readonly dilation: number;
  readonly groups: number;
  readonly bias: boolean;
  /** Standard deviation of a static weight's initial values; absent: Kaiming's for a convolution, PyTorch's for a linear layer. */
  readonly deviation?: number;
  /** The layer's place for warehouse sharing, such as `stage0_layer1_conv0`; absent for a layer that is always static. */
  readonly sharingName?: string;
  /**
   * The layer before which the authors' code creates this one, where layers are created in another order than used: the order of creation
   * numbers the warehouses.
   */
  readonly createdBefore?: string;
}

/** Appends one convolution (or linear layer) to the graph. A network gets its kind of dynamic convolution through this. */
export type ConvolutionFactory = (context: LayerContext, x: Value, spec: ConvolutionSpec) => Value;

type Optional = 'kind' | 'kernel' | 'stride' | 'padding' | 'dilation' | 'groups' | 'bias';

/** A specification with PyTorch's defaults: 1x1, stride 1, no padding, one group, no bias. */
export function convolutionSpec(spec: Omit<ConvolutionSpec, Optional> & Partial<Pick<ConvolutionSpec, Optional>>): ConvolutionSpec {
  return { kind: 'conv2d', kernel: 1, stride: 1, padding: 0, dilation: 1, groups: 1, bias: false, ...spec };
}

export function newContext(graph: Graph, training: boolean): LayerContext {
  let streams = 0;
  return { graph, training, nextStream: () => streams++ };
}
