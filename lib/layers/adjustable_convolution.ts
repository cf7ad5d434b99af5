/** The convolutions whose static kernel CGC, WeightNet and DCD can adjust. */
import { KernelWarehouseError } from '../errors.js';
import type { ConvolutionSpec } from './layer.js';

/**
 * @param method names it in messages
 * @param groups the groups for which it is defined: one only, or depth-wise convolutions too
 * @throws ERR_KW_UNSUPPORTED for anything but a 2-D convolution with such groups.
 */
export function expectAdjustable(method: string, spec: ConvolutionSpec, groups: 'one group' | 'one group or depth-wise'): void {
  const { name, kind, inChannels, outChannels } = spec;
  const isDepthwise = spec.groups === inChannels && spec.groups === outChannels;
  const fitsGroups = spec.groups === 1 || (isDepthwise && groups === 'one group or depth-wise');
  if (kind === 'conv2d' && fitsGroups) return;
  throw new KernelWarehouseError(
    'ERR_KW_UNSUPPORTED',
    `layer ${name}: ${method} expects a conv2d of ${groups} but received a ${kind} of ${inChannels} to ${outChannels} channels in ` +
      `${spec.groups} groups; leave this layer static`,
  );
}
