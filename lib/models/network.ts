/** What a network family provides. */
import type { Value } from '../graph/graph.js';
import type { ConvolutionFactory, LayerContext } from '../layers/layer.js';

export interface NetworkOptions {
  readonly classes: number;
  /** `large`: 7x7 stride 2 and max pooling, for 224 pixels; `small`: 3x3 stride 1, for 32 pixels. */
  readonly stem: 'large' | 'small';
  /** Probability of dropping a feature before the classifier, in training. */
  readonly dropout: number;
  /** Probability of dropping a residual branch for a sample, in training (stochastic depth). */
  readonly dropPath: number;
}

export interface Network {
  /** What its KernelWarehouse variant shares unless told otherwise, see `AllocationOptions.sharingRange`. */
  readonly sharingRange: readonly string[];
  /** Appends the network for images x [N, H, W, 3] and returns logits [N, classes]. */
  readonly build: (context: LayerContext, x: Value, convolution: ConvolutionFactory, options: NetworkOptions) => Value;
}
