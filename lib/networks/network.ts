/** What a network provides. */
import type { Value } from '../graph/graph.js';
import type { ConvolutionFactory, LayerContext, NetworkFeature, Recalibration, TensorNaming } from '../layers/layer.js';
import type { MethodOptions } from '../methods/options.js';
import type { AllocationOptions } from '../warehouse/index.js';

export type Stem = 'large' | 'small';

export interface NetworkOptions {
  readonly classes: number;
  /** `large`: the first layers in the paper, for 224 pixels; `small`: layers that reduce the image less or not at all, for 32 pixels. */
  readonly stem: Stem;
  /** Probability of dropping a feature before the classifier, in training. */
  readonly dropout: number;
  /** Probability of dropping a residual branch for a sample, in training (stochastic depth). */
  readonly dropPath: number;
  /** Height and width of the images; matters only for networks with position embeddings. */
  readonly imageSize: number;
  /** Initial value of ConvNeXt's layer scale; 0 leaves layer scale out. */
  readonly layerScale: number;
  /** Factor on the classifier's initial values (ConvNeXt). */
  readonly headScale: number;
}

export interface BuildOptions extends NetworkOptions {
  readonly naming: TensorNaming;
  /** Called in every residual block; absent if the method has none. */
  readonly recalibration?: Recalibration;
}

export interface NetworkOutput {
  /** [N, classes] */
  readonly logits: Value;
  /** The feature map at the end of each stage, [N, H, W, C], the largest first. */
  readonly stages?: readonly Value[];
}

export interface Network {
  /** Appends the network for images x [N, H, W, 3]. Every convolution that may become dynamic is made by `convolution`. */
  readonly build: (context: LayerContext, x: Value, convolution: ConvolutionFactory, options: BuildOptions) => NetworkOutput;
  /** How the KernelWarehouse variant shares and partitions its kernels, unless a configuration says otherwise. */
  readonly warehouse?: AllocationOptions;
  /**
   * What the build function tells about its layers. A method is available for the networks that tell what it needs. Defaults to nothing.
   */
  readonly tells?: readonly NetworkFeature[];
  /** Options of methods, by the method's name, whose defaults differ in this network. */
  readonly methodDefaults?: Readonly<Record<string, MethodOptions>>;
  /** Defaults to only `large`. */
  readonly stems?: readonly Stem[];
  /** Whether stored tensors depend on the image size, as position embeddings do. */
  readonly fixedImageSize?: boolean;
  /** The image size for which stored tensors are made, from their shapes; undefined if these do not tell. */
  readonly imageSizeOf?: (shape: (name: string) => readonly number[] | undefined) => number | undefined;
}
