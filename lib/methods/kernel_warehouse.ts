/** The paper's own method. */
import { KernelWarehouseError } from '../errors.js';
import { kernelWarehouseConvolution } from '../layers/kernel_warehouse.js';
import { type ConvolutionSpec, layerShape } from '../layers/layer.js';
import { allocate, type LayerShape } from '../warehouse/index.js';
import type { Method } from './method.js';

/** The layers that use warehouses, in module order. */
function warehouseLayers(layers: readonly ConvolutionSpec[]): LayerShape[] {
  const members = layers.filter(({ sharingName }) => sharingName !== undefined);
  const positions = new Map(members.map(({ name }, index) => [name, index]));
  return members.map((spec) => {
    const shape = layerShape(spec, spec.sharingName as string);
    const next = positions.get(spec.createdBefore ?? '');
    return next === undefined ? shape : { ...shape, reserved: next - 0.5 };
  });
}

/** KW* is one of its options. */
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
