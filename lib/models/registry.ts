/** Networks by their official names. A static network and its dynamic variants are one function; a new family is one line here. */
import { KernelWarehouseError } from '../errors.js';
import { nearestName } from './nearest_name.js';
import type { Network } from './network.js';
import { resnet18, resnet50 } from './resnet.js';

const families: Readonly<Record<string, Network>> = {
  resnet18: { build: resnet18, sharingRange: ['layer', 'conv'] },
  resnet50: { build: resnet50, sharingRange: ['layer', 'conv'] },
};

export interface RegisteredNetwork {
  readonly name: string;
  readonly network: Network;
  /** Whether the network's convolutions are KernelWarehouse's (`kw_` names). */
  readonly kernelWarehouse: boolean;
}

export function networkNames(): string[] {
  return Object.keys(families).flatMap((name) => [name, `kw_${name}`]);
}

/** The network of an official name such as `kw_resnet18`; throws ERR_KW_UNKNOWN_NETWORK with the nearest name. */
export function findNetwork(name: string): RegisteredNetwork {
  const kernelWarehouse = name.startsWith('kw_');
  const family = kernelWarehouse ? name.slice(3) : name;
  const network = Object.hasOwn(families, family) ? families[family] : undefined;
  if (!network) {
    const known = networkNames();
    const suggestion = nearestName(name, known);
    const hint = suggestion === undefined ? '.' : `; did you mean '${suggestion}'?`;
    throw new KernelWarehouseError('ERR_KW_UNKNOWN_NETWORK', `no network '${name}'${hint} Known: ${known.join(', ')}`);
  }
  return { name, network, kernelWarehouse };
}
