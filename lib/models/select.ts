/** Turns what a user names (a network, an official configuration, a configuration file) into the options of a model. */
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import {
  allocationOptions,
  methodConfigFields,
  methodOptions,
  modelConfigFields,
  type NetworkConfig,
  officialConfig,
  officialConfigNames,
  parseConfig,
  readConfig,
  warehouseConfigFields,
} from '../configurations/configuration.js';
import { KernelWarehouseError } from '../errors.js';
import { kernelWarehouse } from '../methods/kernel_warehouse.js';
import type { Method } from '../methods/method.js';
import { suggestion } from '../validation/known_names.js';
import type { ModelOptions } from './model_options.js';
import { findNetwork, networkNames, registrationRemedy } from './registry.js';

/** Refuses the fields of methods other than the network's: they would have no effect, and nobody would notice. */
function checkFields(config: NetworkConfig, taken: readonly (keyof NetworkConfig)[]): void {
  const stray = [...warehouseConfigFields, ...methodConfigFields].filter((field) => !taken.includes(field) && config[field] !== undefined);
  if (stray.length > 0) throw new KernelWarehouseError('ERR_KW_CONFIG', `${config.model} takes no ${stray.join(', ')}; leave that out`);
}

function optionsOfMethod(config: NetworkConfig, method: Method): Pick<ModelOptions, 'warehouse' | 'method'> {
  const isKernelWarehouse = method === kernelWarehouse;
  checkFields(config, isKernelWarehouse ? warehouseConfigFields : methodConfigFields);
  return isKernelWarehouse ? { warehouse: allocationOptions(config) } : { method: methodOptions(config) };
}

/**
 * The part of a configuration that makes the model; the rest belongs to training.
 * @throws ERR_KW_CONFIG for fields that belong to another method than the network's.
 */
export function modelOptions(config: NetworkConfig): ModelOptions {
  const { method } = findNetwork(config.model);
  return {
    network: config.model,
    ...(method ? optionsOfMethod(config, method) : {}),
    ...(config.num_classes === undefined ? {} : { classes: config.num_classes }),
    ...(config.dropout === undefined ? {} : { dropout: config.dropout }),
    ...(config.drop_path === undefined ? {} : { dropPath: config.drop_path }),
    ...(config.layer_scale_init_value === undefined ? {} : { layerScale: config.layer_scale_init_value }),
    ...(config.head_init_scale === undefined ? {} : { headScale: config.head_init_scale }),
  };
}

export interface Selection {
  readonly config: NetworkConfig;
  readonly model: ModelOptions;
  /** A note for the user about how the name was understood. */
  readonly note?: string;
}

/**
 * Finds what `name` means: a network with its defaults (`kw_resnet18`), an official configuration (`kw1x_resnet18`), or the path of a JSON
 * configuration, which contains a `/` or ends in `.json`. A path that does not exist means the official configuration with that file name,
 * as in the authors' commands. Throws ERR_KW_UNKNOWN_NETWORK with the nearest name, or ERR_KW_CONFIG.
 */
export function selectModel(name: string): Selection {
  const official = missingOfficialFile(name);
  const config = official === undefined ? findConfig(name) : officialConfig(official);
  const note = official === undefined ? {} : { note: `there is no file ${name}; using the official configuration ${official}` };
  return { config, model: modelOptions(config), ...note };
}

/**
 * The model in the settings of a training script. The authors' script takes the fields of a configuration as options, and stores them all.
 * @param json the settings as a JSON object
 * @param source names them in messages
 * @returns undefined if they name no model
 * @throws ERR_KW_CONFIG for values that no configuration has.
 */
export function configOfSettings(json: string, source: string): NetworkConfig | undefined {
  const settings = parsedObject(json);
  // The weights tell the number of classes: scripts store it under several names.
  const fields = modelConfigFields.filter((field) => field !== 'num_classes' && Object.hasOwn(settings, field) && settings[field] !== null);
  if (typeof settings.model !== 'string') return undefined;
  return parseConfig(Object.fromEntries(fields.map((field) => [field, settings[field]])), source);
}

function parsedObject(json: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return {};
  }
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

/** The official configuration that the path of a missing file means. */
function missingOfficialFile(path: string): string | undefined {
  if (!path.endsWith('.json') || existsSync(path)) return undefined;
  const name = basename(path, '.json');
  return officialConfigNames().includes(name) ? name : undefined;
}

function findConfig(name: string): NetworkConfig {
  const networks = networkNames();
  if (networks.includes(name)) return { model: name };
  if (officialConfigNames().includes(name)) return officialConfig(name);
  if (/[/\\]|\.json$/.test(name)) return readConfig(name);
  const known = [...new Set([...networks, ...officialConfigNames()])];
  const file = existsSync(name) ? `; for the file of this name give ./${name}.` : '';
  throw new KernelWarehouseError(
    'ERR_KW_UNKNOWN_NETWORK',
    `no network or configuration '${name}'${file || suggestion(name, known)} ${registrationRemedy}`,
  );
}
