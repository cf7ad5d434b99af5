/** Networks by name. A static network and its dynamic variants are one function. */

import { officialConfigNames } from '../configurations/configuration.js';
import { KernelWarehouseError } from '../errors.js';
import type { NetworkFeature } from '../layers/layer.js';
import { kernelWarehouse } from '../methods/kernel_warehouse.js';
import type { Method } from '../methods/method.js';
import { methods } from '../methods/methods.js';
import { checkMethodOptions } from '../methods/options.js';
import { convNextTiny, splitConvNextTiny } from '../networks/convnext.js';
import { deitSmall, deitTiny } from '../networks/deit.js';
import { halfMobileNetV2, mobileNetV2 } from '../networks/mobilenetv2.js';
import type { Network } from '../networks/network.js';
import { resnet18, resnet50 } from '../networks/resnet.js';
import { checkNames, shortly, suggestion } from '../validation/known_names.js';
import { warehouseOptions } from '../warehouse/index.js';

export interface RegisteredNetwork {
  readonly name: string;
  readonly network: Network;
  /** The method of a dynamic network; absent for a static one. */
  readonly method?: Method;
  /** The name of the static network from which it is made; for a static network, its own name. */
  readonly family: string;
}

const registered = new Map<string, RegisteredNetwork>();

/** The names of a network's variants, with their methods. */
function variantsOf(name: string, { tells = [] }: Network): [name: string, method: Method][] {
  return methods
    .filter(({ needs }) => needs.every((feature) => tells.includes(feature)))
    .map((method) => [`${method.name}_${name}`, method]);
}

function addWithVariants(family: string, network: Network): void {
  registered.set(family, { name: family, network, family });
  for (const [name, method] of variantsOf(family, network)) registered.set(name, { name, network, method, family });
}

/** Adds a KernelWarehouse network whose static counterpart is built by another function and registered already. */
function addVariant(name: string, network: Network, family: string): void {
  registered.set(name, { name, network, method: kernelWarehouse, family });
}

/** One entry for each field, so that the compiler misses none that is added. */
const networkFields: Readonly<Record<keyof Network, true>> = {
  build: true,
  warehouse: true,
  tells: true,
  methodDefaults: true,
  stems: true,
  fixedImageSize: true,
  imageSizeOf: true,
};

/** One entry for each feature, so that the compiler misses none that is added. */
const features: Readonly<Record<NetworkFeature, true>> = { stem: true, shortcut: true, classifier: true, block: true, recalibration: true };

function checkNetwork(name: string, network: Network): void {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `network '${name}': ${problem}`);
  };
  if (typeof network !== 'object' || network === null) fail(`expected an object with a function build, got ${shortly(network)}`);
  if (Object.hasOwn(network, 'layers')) fail('a description is not a network yet; give describedNetwork(description)');
  checkNames(network, Object.keys(networkFields), `network '${name}'`);
  if (typeof network.build !== 'function') fail(`expected a function build, got ${shortly(network.build)}`);
  const { warehouse, tells = [], methodDefaults = {} } = network;
  if (warehouse !== undefined) checkNames(warehouse, Object.keys(warehouseOptions), `network '${name}': warehouse`);
  if (!Array.isArray(tells)) fail(`expected tells to be a list of ${Object.keys(features).join(', ')}, got ${shortly(tells)}`);
  checkNames(Object.fromEntries(tells.map((feature) => [feature, true])), Object.keys(features), `network '${name}': tells`);
  const place = `network '${name}': methodDefaults`;
  checkNames(
    methodDefaults,
    methods.map((method) => method.name),
    place,
  );
  for (const { name: method, defaults } of methods)
    checkMethodOptions(methodDefaults[method] ?? {}, Object.keys(defaults), `${place}: ${method}`);
}

/**
 * Registers a network under `name`, and its variants under `<method>_<name>`, so that everything that takes a network's name knows them.
 * There is always a variant `kw_<name>`, and one for each other method that finds what it needs in `Network.tells`. Throws
 * ERR_KW_INVALID_ARGUMENT for a name that is taken or contains anything but letters, digits, `_`, `-` and `.`, and for something that is
 * not a network.
 */
export function registerNetwork(name: string, network: Network): void {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `network name '${name}': ${problem}`);
  };
  if (!/^\w[\w.-]*$/.test(name)) fail('expected letters, digits, _, - and .');
  if (name.startsWith('kw_'))
    fail(`kw_ is the prefix of KernelWarehouse variants, which are registered with their network; give '${name.slice(3)}'`);
  checkNetwork(name, network);
  const names = [name, ...variantsOf(name, network).map(([variant]) => variant)];
  if (names.some((one) => registered.has(one))) fail('a network of this name is registered already');
  const configurations = officialConfigNames();
  if (names.some((one) => configurations.includes(one))) fail('a configuration that comes with the package has this name; choose another');
  addWithVariants(name, network);
}

addWithVariants('resnet18', resnet18);
addWithVariants('resnet50', resnet50);
addWithVariants('mobilenetv2_100', mobileNetV2(1));
addWithVariants('mobilenetv2_050', mobileNetV2(0.5));
addWithVariants('convnext_tiny', convNextTiny);
addWithVariants('deit_tiny', deitTiny);
addWithVariants('deit_small', deitSmall);
// Variants whose static network is one of the above.
addVariant('kw1d2x_mobilenetv2_100', halfMobileNetV2(1), 'mobilenetv2_100');
addVariant('kw1d2x_mobilenetv2_050', halfMobileNetV2(0.5), 'mobilenetv2_050');
addVariant('kw_convnext_tiny_split', splitConvNextTiny, 'convnext_tiny');

export function networkNames(): string[] {
  return [...registered.keys()];
}

/** What to do if the name of a user's own network is unknown: only a process that has registered it knows it. */
export const registrationRemedy =
  'A network of your own has to be registered in this process: import the file that calls registerNetwork, ' +
  "on the command line with NODE_OPTIONS='--import ./FILE'";

/** The network with a name such as `kw_resnet18`; throws ERR_KW_UNKNOWN_NETWORK with the nearest name. */
export function findNetwork(name: string): RegisteredNetwork {
  const found = registered.get(name);
  if (found) return found;
  throw new KernelWarehouseError('ERR_KW_UNKNOWN_NETWORK', `no network '${name}'${suggestion(name, networkNames())} ${registrationRemedy}`);
}
