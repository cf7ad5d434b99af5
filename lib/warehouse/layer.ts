/** What partition needs to know about a layer: the shape of its kernel, and with whom it shares. No tensors. */
import { KernelWarehouseError } from '../errors.js';

export type LayerKind = 'conv1d' | 'conv2d' | 'conv3d' | 'linear';

/** Spatial dimensions of a kernel. A linear layer is partitioned as a 1-D convolution with a kernel of 1, as in the authors' code. */
export const spatialDimensions: Readonly<Record<LayerKind, number>> = { conv1d: 1, conv2d: 2, conv3d: 3, linear: 1 };

export interface LayerShape {
  /** Official module name, such as `layer1.0.conv1`; unique in a network. */
  readonly name: string;
  readonly kind: LayerKind;
  /** All input channels, over all groups. */
  readonly inChannels: number;
  readonly outChannels: number;
  /** One size for each spatial dimension; absent means 1 everywhere. A linear layer has none. */
  readonly kernel?: readonly number[];
  /** Defaults to 1. */
  readonly groups?: number;
  /** Whether the layer has a bias; defaults to false. The bias is static and not part of the warehouse. */
  readonly bias?: boolean;
  /** Place for sharing, such as `stage0_layer1_conv0`; layers whose names are equal after `fuseSharingName` share a warehouse. */
  readonly sharingName: string;
  /**
   * Place in the order that numbers the warehouses; defaults to the position in the list, and may be a fraction to stand between two
   * others. Cells are always given out in the order of the list. The two orders differ for a ResNet shortcut, which the authors' code
   * creates before the block's convolutions but visits after them.
   */
  readonly reserved?: number;
}

/** The static kernel that the mixtures replace, in PyTorch's order: [outChannels, inChannels / groups, ...kernel]; linear: [out, in, 1]. */
export function weightShape(layer: LayerShape): readonly number[] {
  const kernel = layer.kernel ?? new Array<number>(spatialDimensions[layer.kind]).fill(1);
  return [layer.outChannels, layer.inChannels / (layer.groups ?? 1), ...kernel];
}

/** The module that owns bias and attention in a state dict: the authors wrap a linear layer's convolution as `conv`. */
export function moduleName(layer: { readonly name: string; readonly kind: LayerKind }): string {
  return layer.kind === 'linear' ? `${layer.name}.conv` : layer.name;
}

function positiveInteger(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}

/** Throws ERR_KW_ALLOCATION, naming the layer, unless names are unique, sizes positive integers and groups divide the channels. */
export function validateLayers(layers: readonly LayerShape[]): void {
  const names = new Set<string>();
  for (const layer of layers) {
    const { name, kind, inChannels, outChannels, kernel, groups = 1, reserved } = layer;
    const fail = (message: string): never => {
      throw new KernelWarehouseError('ERR_KW_ALLOCATION', `layer ${name}: ${message}`);
    };
    if (!name) fail(`expected a module name, got '${name}'`);
    if (names.has(name)) fail('expected unique names, but two layers have this one');
    names.add(name);
    if (!Object.hasOwn(spatialDimensions, kind)) fail(`kind: expected conv1d, conv2d, conv3d or linear, got ${String(kind)}`);
    if (!layer.sharingName) fail('sharingName: expected a name such as stage0_layer1_conv0, got an empty one');
    for (const [field, value] of Object.entries({ inChannels, outChannels, groups })) {
      if (!positiveInteger(value)) fail(`${field}: expected a positive integer, got ${String(value)}`);
    }
    if (inChannels % groups !== 0 || outChannels % groups !== 0) {
      fail(`groups: expected a divisor of ${inChannels} input and ${outChannels} output channels, got ${groups}`);
    }
    if (kind === 'linear' && groups !== 1) fail(`groups: a linear layer has one, got ${groups}`);
    if (kernel !== undefined) {
      if (kind === 'linear') fail(`kernel: a linear layer has none, got [${kernel.join(', ')}]`);
      if (kernel.length !== spatialDimensions[kind] || !kernel.every(positiveInteger)) {
        fail(`kernel: expected ${spatialDimensions[kind]} positive integers for ${kind}, got [${kernel.join(', ')}]`);
      }
    }
    if (reserved !== undefined && !Number.isFinite(reserved)) fail(`reserved: expected a finite number, got ${String(reserved)}`);
  }
}
