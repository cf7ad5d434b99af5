/** Networks by their official names. A static network and its dynamic variants are one function. */
import { KernelWarehouseError } from '../errors.js';
import { officialConfigNames } from './config.js';
import { convNextTiny, splitConvNextTiny } from './convnext.js';
import { deitSmall, deitTiny } from './deit.js';
import { checkNames, shortly, suggestion } from './known_names.js';
import { halfMobileNetV2, mobileNetV2 } from './mobilenetv2.js';
import type { Network } from './network.js';
import { warehouseFields } from './options_schema.js';
import { resnet18, resnet50 } from './resnet.js';

export interface RegisteredNetwork {
  readonly name: string;
  readonly network: Network;
  /** Whether the network's convolutions are KernelWarehouse's. */
  readonly kernelWarehouse: boolean;
}

const registered = new Map<string, RegisteredNetwork>();

function add(name: string, network: Network, kernelWarehouse: boolean): void {
  registered.set(name, { name, network, kernelWarehouse });
}

function addWithVariant(name: string, network: Network): void {
  add(name, network, false);
  add(`kw_${name}`, network, true);
}

/** One entry for each field, so that the compiler misses none that is added. */
const networkFields: Readonly<Record<keyof Network, true>> = {
  build: true,
  warehouse: true,
  stems: true,
  fixedImageSize: true,
  imageSizeOf: true,
};

function checkNetwork(name: string, network: Network): void {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `network '${name}': ${problem}`);
  };
  if (typeof network !== 'object' || network === null) fail(`expected an object with a function build, got ${shortly(network)}`);
  if (Object.hasOwn(network, 'layers')) fail('a description is no network yet; give describedNetwork(description)');
  checkNames(network, Object.keys(networkFields), `network '${name}'`);
  if (typeof network.build !== 'function') fail(`expected a function build, got ${shortly(network.build)}`);
  if (network.warehouse !== undefined) checkNames(network.warehouse, Object.keys(warehouseFields), `network '${name}': warehouse`);
}

/**
 * Makes a network known under `name`, and its KernelWarehouse variant under `kw_<name>`, to everything that takes a network's name.
 * Throws ERR_KW_INVALID_ARGUMENT for a name that is taken, or that is not made of letters, digits, `_`, `-` and `.`, and for what is no
 * network.
 */
export function registerNetwork(name: string, network: Network): void {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `network name '${name}': ${problem}`);
  };
  if (!/^\w[\w.-]*$/.test(name)) fail('expected letters, digits, _, - and .');
  if (name.startsWith('kw_'))
    fail(`kw_ is the prefix of KernelWarehouse variants, which are registered with their network; give '${name.slice(3)}'`);
  const names = [name, `kw_${name}`];
  if (names.some((one) => registered.has(one))) fail('a network of this name is registered already');
  const configurations = officialConfigNames();
  if (names.some((one) => configurations.includes(one))) fail('a configuration that comes with the package has this name; choose another');
  checkNetwork(name, network);
  addWithVariant(name, network);
}

addWithVariant('resnet18', resnet18);
addWithVariant('resnet50', resnet50);
addWithVariant('mobilenetv2_100', mobileNetV2(1));
addWithVariant('mobilenetv2_050', mobileNetV2(0.5));
addWithVariant('convnext_tiny', convNextTiny);
addWithVariant('deit_tiny', deitTiny);
addWithVariant('deit_small', deitSmall);
// Variants whose static network is one of the above.
add('kw1d2x_mobilenetv2_100', halfMobileNetV2(1), true);
add('kw1d2x_mobilenetv2_050', halfMobileNetV2(0.5), true);
add('kw_convnext_tiny_split', splitConvNextTiny, true);

export function networkNames(): string[] {
  return [...registered.keys()];
}

/** What to do about the name of a network of one's own, which only the process knows that has registered it. */
export const registrationRemedy =
  'A network of your own has to be registered in this process: import the file that calls registerNetwork, ' +
  "on the command line with NODE_OPTIONS='--import ./FILE'";

/** The network of an official name such as `kw_resnet18`; throws ERR_KW_UNKNOWN_NETWORK with the nearest name. */
export function findNetwork(name: string): RegisteredNetwork {
  const found = registered.get(name);
  if (found) return found;
  throw new KernelWarehouseError('ERR_KW_UNKNOWN_NETWORK', `no network '${name}'${suggestion(name, networkNames())} ${registrationRemedy}`);
}
