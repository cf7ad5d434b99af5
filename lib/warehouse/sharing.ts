/** Which layers share a warehouse (paper, section 3.3; the naming is that of the authors' `sharing_range`). */
import { KernelWarehouseError } from '../errors.js';
import { type LayerShape, weightShape } from './layer.js';

/**
 * Parts of sharing names that begin with the same prefix count as equal. A string is a list of its characters, as in the authors'
 * configurations.
 */
export type SharingRange = string | readonly string[];

/**
 * Replaces each underscore-separated part of a sharing name by the prefixes in the range with which it starts, one after the other: with
 * ['layer', 'conv'], `stage0_layer1_conv2` becomes `stage0_layer_conv`; with 'layer_conv' (characters) it becomes `stage0_l_c`.
 */
export function fuseSharingName(sharingName: string, range: SharingRange): string {
  const prefixes = [...range];
  return sharingName
    .split('_')
    .map((part) => prefixes.reduce((name, prefix) => (name.startsWith(prefix) ? prefix : name), part))
    .join('_');
}

/** Layers that share a warehouse, in the order of the list. */
export interface SharingGroup {
  /** The fused sharing name, followed by the shape of the kernels if only equal ones share. */
  readonly name: string;
  readonly layers: readonly LayerShape[];
}

/**
 * Groups layers by fused sharing name and, with `sameDimensions`, by the shape of their kernels (paper, Table 7). Groups are ordered by
 * their first layer in `reserved`, which gives the official numbering of warehouses. Layers inside a group keep the order of the list, in
 * which cells are given out.
 * @throws ERR_KW_ALLOCATION for an empty prefix, with which every name starts.
 */
export function groupLayers(layers: readonly LayerShape[], range: SharingRange, sameDimensions = false): readonly SharingGroup[] {
  if ([...range].includes('')) {
    throw new KernelWarehouseError('ERR_KW_ALLOCATION', 'sharingRange: expected prefixes such as layer and conv, got an empty one');
  }
  const entries = layers.map((layer, position) => ({
    layer,
    name: fuseSharingName(layer.sharingName, range) + (sameDimensions ? `_${weightShape(layer).join('x')}` : ''),
    rank: layer.reserved ?? position,
  }));
  const groups = new Map<string, LayerShape[]>();
  for (const { name } of entries.toSorted((a, b) => a.rank - b.rank)) groups.set(name, []);
  for (const { name, layer } of entries) groups.get(name)?.push(layer);
  return [...groups].map(([name, members]) => ({ name, layers: members }));
}
