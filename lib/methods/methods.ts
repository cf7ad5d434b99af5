/** All methods, by the names that networks have in them. What they compute is in `lib/layers`; here is where they do it. */
import { KernelWarehouseError } from '../errors.js';
import { condconvConvolution } from '../layers/condconv.js';
import { staticConvolution } from '../layers/convolution.js';
import { dyconvConvolution } from '../layers/dyconv.js';
import { kernelWarehouseConvolution } from '../layers/kernel_warehouse.js';
import { type ConvolutionSpec, layerShape } from '../layers/layer.js';
import { odconvConvolution } from '../layers/odconv.js';
import { allocate, type LayerShape } from '../warehouse/index.js';
import { adjustingMethods } from './adjusting_methods.js';
import { defineMethod, inPlaces, type Method } from './method.js';

/** The layers that take part in warehouses, in module order. */
function warehouseLayers(layers: readonly ConvolutionSpec[]): LayerShape[] {
  const members = layers.filter(({ sharingName }) => sharingName !== undefined);
  const positions = new Map(members.map(({ name }, index) => [name, index]));
  return members.map((spec) => {
    const shape = layerShape(spec, spec.sharingName as string);
    const next = positions.get(spec.createdBefore ?? '');
    return next === undefined ? shape : { ...shape, reserved: next - 0.5 };
  });
}

/** The paper's own; KW* is one of its options. */
export const kernelWarehouse: Method = {
  name: 'kw',
  needs: [],
  naming: 'kernel_warehouse',
  defaults: {},
  variant({ network, warehouse, layers }) {
    const members = warehouseLayers(layers);
    if (members.length === 0) {
      throw new KernelWarehouseError(
        'ERR_KW_CONFIG',
        `'${network}' has no layer that can be dynamic; make convolutions with the factory that the build function is given, ` +
          'and with a sharingName (replaceConvolutions gives them to a description)',
      );
    }
    const allocation = allocate(members, warehouse);
    return { convolution: kernelWarehouseConvolution(allocation), allocation };
  },
};

const fourKernels = { kernels: 4, attention: 'softmax' } as const;

/** Every convolution but the stem, shortcuts included. */
const dyconv = defineMethod<'kernels' | 'attention' | 'reduction'>({
  name: 'dyconv',
  needs: ['stem'],
  defaults: { ...fourKernels, reduction: 1 / 4 },
  variant: (options) => ({
    convolution: inPlaces(dyconvConvolution(options), ({ kind, role }) => kind !== 'linear' && role !== 'stem'),
  }),
});

/** Every convolution but shortcuts and, unless its option says so, the stem. */
const odconv = defineMethod<'kernels' | 'attention' | 'reduction' | 'stem'>({
  name: 'odconv',
  needs: ['stem', 'shortcut'],
  defaults: { ...fourKernels, reduction: 1 / 16, stem: false },
  variant: ({ stem, ...options }) => ({
    convolution: inPlaces(
      odconvConvolution(options),
      ({ kind, role }) => kind !== 'linear' && role !== 'shortcut' && (role !== 'stem' || stem),
    ),
  }),
});

const condconvBlocks = 3;

/** The 3x3 convolutions of the last three residual blocks, and the classifier, which then has no bias: so the paper's count is met. */
const condconv = defineMethod<'kernels'>({
  name: 'condconv',
  needs: ['block', 'classifier'],
  defaults: { kernels: 8 },
  variant: (options, layers) => {
    const last = new Set([...new Set(layers.map(({ block }) => block?.name))].filter((name) => name !== undefined).slice(-condconvBlocks));
    const dynamic = condconvConvolution(options);
    return {
      convolution: (context, x, spec) => {
        if (spec.role === 'classifier') return dynamic(context, x, { ...spec, bias: false });
        const isPlace = last.has(spec.block?.name ?? '') && spec.kernel.every((size) => size === 3);
        return (isPlace ? dynamic : staticConvolution)(context, x, spec);
      },
    };
  },
});

export const methods: readonly Method[] = [kernelWarehouse, dyconv, odconv, condconv, ...adjustingMethods];
