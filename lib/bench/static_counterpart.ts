/** Which static network a dynamic one is compared with. */
import type { ModelOptions } from '../models/model.js';
import { findNetwork, networkNames } from '../models/registry.js';

/**
 * The static network that a KernelWarehouse network was made from, by the names: `kw_resnet18` and every budget of it belong to `resnet18`,
 * `kw_convnext_tiny_split` to `convnext_tiny`. Undefined for a network that is static itself.
 */
export function staticCounterpart({ network, warehouse: _, ...options }: ModelOptions): ModelOptions | undefined {
  if (!findNetwork(network).kernelWarehouse) return undefined;
  const family = network.replace(/^kw[^_]*_/, '');
  const candidates = networkNames().filter(
    (name) => !findNetwork(name).kernelWarehouse && (family === name || family.startsWith(`${name}_`)),
  );
  const [nearest] = candidates.sort((a, b) => b.length - a.length);
  return nearest === undefined ? undefined : { ...options, network: nearest };
}
