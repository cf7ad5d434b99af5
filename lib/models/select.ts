/** From what a user names — a network, an official configuration, a configuration file — to a model's options. */
import { existsSync } from 'node:fs';
import { KernelWarehouseError } from '../errors.js';
import { allocationOptions, type NetworkConfig, officialConfig, officialConfigNames, readConfig } from './config.js';
import type { ModelOptions } from './model.js';
import { nearestName } from './nearest_name.js';
import { findNetwork, networkNames, registrationRemedy } from './registry.js';

/** The model's part of a configuration; the rest of it belongs to training. */
export function modelOptions(config: NetworkConfig): ModelOptions {
  const { kernelWarehouse } = findNetwork(config.model);
  return {
    network: config.model,
    ...(kernelWarehouse ? { warehouse: allocationOptions(config) } : {}),
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
}

/**
 * Finds what `name` means: the path of a JSON configuration, an official configuration (`kw1x_resnet18`), or a network with its defaults
 * (`kw_resnet18`). Throws ERR_KW_UNKNOWN_NETWORK with the nearest name, or ERR_KW_CONFIG.
 */
export function selectModel(name: string): Selection {
  const config = findConfig(name);
  return { config, model: modelOptions(config) };
}

function findConfig(name: string): NetworkConfig {
  if (name.endsWith('.json') || existsSync(name)) return readConfig(name);
  const networks = networkNames();
  if (networks.includes(name)) return { model: name };
  if (officialConfigNames().includes(name)) return officialConfig(name);
  const known = [...new Set([...networks, ...officialConfigNames()])];
  const suggestion = nearestName(name, known);
  const hint = suggestion === undefined ? '.' : `; did you mean '${suggestion}'?`;
  throw new KernelWarehouseError(
    'ERR_KW_UNKNOWN_NETWORK',
    `no network or configuration '${name}'${hint} Known: ${known.join(', ')}. ${registrationRemedy}`,
  );
}
