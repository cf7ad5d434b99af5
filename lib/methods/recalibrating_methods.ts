/** The methods that recalibrate the output of a residual block. */
import { KernelWarehouseError } from '../errors.js';
import { cbam } from '../layers/cbam.js';
import { staticConvolution } from '../layers/convolution.js';
import { eca, ecaKernel } from '../layers/eca.js';
import type { ConvolutionSpec, Recalibration } from '../layers/layer.js';
import { squeezeExcitation } from '../layers/squeeze_excitation.js';
import { defineMethod, type Method, type Variant } from './method.js';

/** A static network in which a module of each block recalibrates its output. */
function recalibrated(suffix: string, recalibration: Recalibration): Variant {
  return { convolution: staticConvolution, recalibration: (context, y, name) => recalibration(context, y, `${name}.${suffix}`) };
}

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

/** The numbers of channels of the residual blocks' outputs, the fewest first. */
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

export const recalibratingMethods: readonly Method[] = [se, cbamMethod, ecaMethod];
