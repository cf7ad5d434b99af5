/** The methods that mix whole kernels of one layer, and the layers that each changes. */
import { condconvConvolution } from '../layers/condconv.js';
import { staticConvolution } from '../layers/convolution.js';
import { dyconvConvolution } from '../layers/dyconv.js';
import { odconvConvolution } from '../layers/odconv.js';
import { defineMethod, inPlaces, type Method } from './method.js';

const fourKernels = { kernels: 4, attention: 'softmax' } as const;

/** Every convolution except the stem; shortcuts are included. */
const dyconv = defineMethod({
  name: 'dyconv',
  needs: ['stem'],
  defaults: { ...fourKernels, reduction: 1 / 4 },
  variant: (options) => ({
    convolution: inPlaces(dyconvConvolution(options), ({ kind, role }) => kind !== 'linear' && role !== 'stem'),
  }),
});

/** Every convolution except shortcuts and, unless its option says so, the stem. */
const odconv = defineMethod({
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

/** The 3x3 convolutions of the last three residual blocks, and the classifier, which then has no bias: this gives the paper's count. */
const condconv = defineMethod({
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

export const mixingMethods: readonly Method[] = [dyconv, odconv, condconv];
