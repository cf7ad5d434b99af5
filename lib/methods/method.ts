/** A method: how to make a dynamic network from a static one. `methods.ts` has all of them. */
import { staticConvolution } from '../layers/convolution.js';
import type { ConvolutionFactory, ConvolutionSpec, NetworkFeature, Recalibration, TensorNaming } from '../layers/layer.js';
import type { Allocation, AllocationOptions } from '../warehouse/index.js';
import { checkMethodOptions, type MethodOptions } from './options.js';

/** What is injected into a network. */
export interface Variant {
  readonly convolution: ConvolutionFactory;
  readonly recalibration?: Recalibration;
  /** KernelWarehouse's warehouses. */
  readonly allocation?: Allocation;
}

export interface VariantSettings {
  /** The name of the network, for messages. */
  readonly network: string;
  /** The options for warehouses from the network and the user; only KernelWarehouse reads them. */
  readonly warehouse: AllocationOptions;
  /** The method's options from the network and the user; the others have their defaults. */
  readonly options: MethodOptions;
  /** Every convolution of the static network, in order. The inputs of their blocks belong to another graph. */
  readonly layers: readonly ConvolutionSpec[];
}

export interface Method {
  /** As in the names of networks, `<method>_<network>`. */
  readonly name: string;
  /** What a network must tell about its layers for the method to find those that it changes. */
  readonly needs: readonly NetworkFeature[];
  readonly naming: TensorNaming;
  /** The options that it takes, with their defaults. */
  readonly defaults: MethodOptions;
  /** Throws ERR_KW_CONFIG for options that it does not take. */
  readonly variant: (settings: VariantSettings) => Variant;
}

/** A method as it is defined: `variant` receives all of its options. */
interface MethodDefinition<Option extends keyof MethodOptions> extends Pick<Method, 'name' | 'needs'> {
  readonly defaults: Required<Pick<MethodOptions, Option>>;
  readonly variant: (options: Required<Pick<MethodOptions, Option>>, layers: readonly ConvolutionSpec[]) => Variant;
}

export function defineMethod<Option extends keyof MethodOptions = never>({ variant, ...definition }: MethodDefinition<Option>): Method {
  const { name, defaults } = definition;
  return {
    ...definition,
    naming: 'static',
    variant: ({ options, layers }) => {
      checkMethodOptions(options, Object.keys(defaults), `options of ${name}`);
      return variant({ ...defaults, ...options }, layers);
    },
  };
}

/** `dynamic` for layers for which `isPlace` is true, static layers otherwise. */
export function inPlaces(dynamic: ConvolutionFactory, isPlace: (spec: ConvolutionSpec) => boolean): ConvolutionFactory {
  return (context, x, spec) => (isPlace(spec) ? dynamic : staticConvolution)(context, x, spec);
}
