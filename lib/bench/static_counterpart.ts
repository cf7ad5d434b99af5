/** The static network that a dynamic one is compared with. */
import type { ModelOptions } from '../models/model_options.js';
import { findNetwork } from '../models/registry.js';

/**
 * The static network that a network of some method was made from: `kw_resnet18`, every budget of it and `dyconv_resnet18` belong to
 * `resnet18`. Undefined for a network that is static itself.
 */
export function staticCounterpart({ network, warehouse: _, method: __, ...options }: ModelOptions): ModelOptions | undefined {
  const { method, family } = findNetwork(network);
  return method ? { ...options, network: family } : undefined;
}
