/** The methods that adjust a static kernel, and the layers that each changes. */
import { elements } from '../graph/operation.js';
import { cgcConvolution } from '../layers/cgc.js';
import { dcdClassifier, dcdConvolution } from '../layers/dcd.js';
import type { ConvolutionSpec } from '../layers/layer.js';
import { weightNetConvolution } from '../layers/weightnet.js';
import { defineMethod, inPlaces, type Method } from './method.js';

function isSpatial({ kind, kernel }: ConvolutionSpec): boolean {
  return kind === 'conv2d' && elements(kernel) > 1;
}

/** Every kernel of more than one position, including that of the stem. */
const cgc = defineMethod({
  name: 'cgc',
  needs: ['stem', 'block'],
  defaults: {},
  variant: () => ({ convolution: inPlaces(cgcConvolution, isSpatial) }),
});

/** Every kernel of more than one position except those of the stem and the shortcuts. */
const weightnet = defineMethod({
  name: 'weightnet',
  needs: ['stem', 'shortcut'],
  defaults: { floor: 16 },
  variant: (options) => ({
    convolution: inPlaces(weightNetConvolution(options), (spec) => isSpatial(spec) && spec.role === undefined),
  }),
});

/** The kernels of more than one position in residual blocks, without shortcuts, and the classifier. */
const dcd = defineMethod({
  name: 'dcd',
  needs: ['shortcut', 'classifier', 'block'],
  defaults: {},
  variant: () => {
    const ofBlocks = inPlaces(dcdConvolution, (spec) => isSpatial(spec) && spec.block !== undefined && spec.role === undefined);
    return { convolution: (context, x, spec) => (spec.role === 'classifier' ? dcdClassifier : ofBlocks)(context, x, spec) };
  },
});

export const adjustingMethods: readonly Method[] = [cgc, weightnet, dcd];
