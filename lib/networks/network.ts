/** What a network provides. */
import type { Value } from '../graph/graph.js';
import type { ConvolutionFactory, LayerContext, NetworkFeature, Recalibration, TensorNaming } from '../layers/layer.js';
import type { MethodOptions } from '../methods/options.js';
import type { AllocationOptions } from '../warehouse/index.js';

export type Stem = 'large' | 'small';

export interface NetworkOptions {
  readonly classes: number;
  /** `large`: the paper's first layers, for 224 pixels; `small`: with less or no reduction of the image, for 32 pixels. */
  readonly stem: Stem;
  /** Probability of dropping a feature before the classifier, in training. */
  readonly dropout: number;
  /** Probability of dropping a residual branch for a sample, in training (stochastic depth). */
  readonly dropPath: number;
  /** Height and width of the images; only networks with position embeddings depend on it. */
  readonly imageSize: number;
  /** Initial value of ConvNeXt's layer scale; 0 leaves layer scale out. */
  readonly layerScale: number;
  /** Factor on the classifier's initial values (ConvNeXt). */
  readonly headScale: number;
}

export interface BuildOptions extends NetworkOptions {
  readonly naming: TensorNaming;
  /** To be applied in every residual block; absent where the method has none. */
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
  /** How the KernelWarehouse variant shares and cuts its kernels, where a configuration says nothing. */
  readonly warehouse?: AllocationOptions;
  /** What the build function tells of its layers; a method is for the networks that tell what it needs. Defaults to nothing. */
  readonly tells?: readonly NetworkFeature[];
  /** Options of methods, by the method's name, that differ in this network from the method's defaults. */
  readonly methodDefaults?: Readonly<Record<string, MethodOptions>>;
  /** Defaults to `large` alone. */
  readonly stems?: readonly Stem[];
  /** Whether stored tensors depend on the image size, as position embeddings do. */
  readonly fixedImageSize?: boolean;
  /** The image size that stored tensors are for, from their shapes; undefined where these do not tell. */
  readonly imageSizeOf?: (shape: (name: string) => readonly number[] | undefined) => number | undefined;
}
