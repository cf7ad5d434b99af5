/** The methods that adjust a static kernel, and those that recalibrate a block's output: where each has its places in a network. */
import { KernelWarehouseError } from '../errors.js';
import { elements } from '../graph/operation.js';
import { cbam } from '../layers/cbam.js';
import { cgcConvolution } from '../layers/cgc.js';
import { staticConvolution } from '../layers/convolution.js';
import { dcdClassifier, dcdConvolution } from '../layers/dcd.js';
import { eca, ecaKernel } from '../layers/eca.js';
import type { ConvolutionSpec, Recalibration } from '../layers/layer.js';
import { squeezeExcitation } from '../layers/squeeze_excitation.js';
import { weightNetConvolution } from '../layers/weightnet.js';
import { defineMethod, inPlaces, type Method, type Variant } from './method.js';

function isSpatial({ kind, kernel }: ConvolutionSpec): boolean {
  return kind === 'conv2d' && elements(kernel) > 1;
}

/** A static network whose blocks' outputs are recalibrated, by a module of each block's own. */
function recalibrated(suffix: string, recalibration: Recalibration): Variant {
  return { convolution: staticConvolution, recalibration: (context, y, name) => recalibration(context, y, `${name}.${suffix}`) };
}

/** Every kernel of more than one position, the stem's too. */
const cgc = defineMethod({
  name: 'cgc',
  needs: ['stem', 'block'],
  defaults: {},
  variant: () => ({ convolution: inPlaces(cgcConvolution, isSpatial) }),
});

/** Every kernel of more than one position but the stem's and the shortcuts'. */
const weightnet = defineMethod({
  name: 'weightnet',
  needs: ['stem', 'shortcut'],
  defaults: { floor: 16 },
  variant: (options) => ({
    convolution: inPlaces(weightNetConvolution(options), (spec) => isSpatial(spec) && spec.role === undefined),
  }),
});

/** The kernels of more than one position in residual blocks, shortcuts left out, and the classifier. */
const dcd = defineMethod({
  name: 'dcd',
  needs: ['shortcut', 'classifier', 'block'],
  defaults: {},
  variant: () => {
    const ofBlocks = inPlaces(dcdConvolution, (spec) => isSpatial(spec) && spec.block !== undefined && spec.role === undefined);
    return { convolution: (context, x, spec) => (spec.role === 'classifier' ? dcdClassifier : ofBlocks)(context, x, spec) };
  },
});

const se = defineMethod({
  name: 'se',
  needs: ['recalibration'],
  defaults: { reduction: 1 / 16, bias: false },
  variant: (options) => recalibrated('se', squeezeExcitation(options)),
});

const cbamMethod = defineMethod({
  name: 'cbam',
  needs: ['recalibration'],
  defaults: { reduction: 1 / 16 },
  variant: (options) => recalibrated('cbam', cbam(options)),
});

/** The numbers of channels that residual blocks give, the fewest first. */
function blockWidths(layers: readonly ConvolutionSpec[]): readonly number[] {
  const ordinary = layers.filter(({ block, role }) => block !== undefined && role === undefined);
  const last = new Map(ordinary.map(({ block, outChannels }) => [block?.name, outChannels]));
  return [...new Set(last.values())].sort((a, b) => a - b);
}

const ecaMethod = defineMethod({
  name: 'eca',
  needs: ['recalibration', 'block'],
  defaults: { kernelSizes: [] as readonly number[] },
  variant: ({ kernelSizes }, layers) => {
    if (kernelSizes.length === 0) return recalibrated('eca', eca(ecaKernel));
    const widths = blockWidths(layers);
    if (kernelSizes.length !== widths.length) {
      throw new KernelWarehouseError(
        'ERR_KW_CONFIG',
        `options of eca: expected kernelSizes for the ${widths.length} widths of blocks, ${widths.join(', ')} channels, ` +
          `but received ${kernelSizes.length} of them`,
      );
    }
    return recalibrated(
      'eca',
      eca((channelCount) => kernelSizes[widths.indexOf(channelCount)] as number),
    );
  },
});

export const adjustingMethods: readonly Method[] = [cgc, weightnet, dcd, se, cbamMethod, ecaMethod];
