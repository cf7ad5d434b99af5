/**
 * Configuration files in the format of the authors' `configs/<family>/<name>.json`. Field names are the command-line options of their
 * training script. Fields that a file leaves out have the defaults of the model and of training.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import { type MethodOptions, methodOptions as methodDeclarations } from '../methods/options.js';
import { nearestName } from '../validation/nearest_name.js';
import { configurationFields, optionsFromFields } from '../validation/option.js';
import { expectation } from '../validation/schema_problem.js';
import { type AllocationOptions, warehouseOptions } from '../warehouse/index.js';
import { describeUnreadFields, recipeFields } from './recipe_fields.js';

const positive = z.number().positive();
const fromZero = z.number().nonnegative();
const probability = z.number().min(0).max(1);
const count = z.int().positive();
const countFromZero = z.int().nonnegative();

const networkFields = {
  /** Name of the network, such as kw_resnet18. */
  model: z.string().min(1),
  num_classes: count.optional(),
  dropout: probability.optional(),
  drop_path: probability.optional(),
  layer_scale_init_value: fromZero.optional(),
  head_init_scale: fromZero.optional(),
};

const warehouseFields = configurationFields(warehouseOptions);
const methodFields = configurationFields(methodDeclarations);

const trainingFields = {
  input_size: count.optional(),
  /** Epochs until the softmax temperature of DY-Conv and ODConv is 1. */
  softmax_temp_epoch: fromZero.optional(),
  /** Epochs until the temperature is 0. */
  temp_epoch: fromZero.optional(),
  epochs: count.optional(),
  batch_size: count.optional(),
  opt: z.string().optional(),
  opt_eps: positive.optional(),
  opt_betas: z.tuple([probability, probability]).nullable().optional(),
  momentum: probability.optional(),
  lr: positive.optional(),
  min_lr: fromZero.optional(),
  warmup_epochs: countFromZero.optional(),
  weight_decay: fromZero.optional(),
  seed: countFromZero.optional(),
  smoothing: probability.optional(),
  crop_pct: probability.nullable().optional(),
};

/** The schema accepts what KernelWarehouse accepts for a field that several methods read; `Model` checks the ranges of the others. */
const fields = { ...networkFields, ...methodFields, ...warehouseFields, ...trainingFields, ...recipeFields };

const schema = z.object(fields);

/** A configuration with the official field names. `nb_classes`, the name in the authors' script, is read as `num_classes`. */
export type NetworkConfig = z.infer<typeof schema>;

/** Fields that training reads. */
export type TrainingField = keyof typeof trainingFields;

function keysOf<Key extends string>(object: Readonly<Record<Key, unknown>>): readonly Key[] {
  return Object.keys(object) as Key[];
}

/** Fields that decide how warehouses are made. */
export const warehouseConfigFields = keysOf(warehouseFields);

/** Fields that set options of a method other than KernelWarehouse. */
export const methodConfigFields = keysOf(methodFields);

/** Fields that make the model. */
export const modelConfigFields: readonly (keyof NetworkConfig)[] = [
  ...keysOf(networkFields),
  ...warehouseConfigFields,
  ...methodConfigFields,
];

function fail(source: string, problems: string, cause?: unknown): never {
  throw new KernelWarehouseError('ERR_KW_CONFIG', `${source}: ${problems}`, cause === undefined ? undefined : { cause });
}

/**
 * Checks a configuration that came as data.
 * @param source names it in messages, such as a file's path
 * @throws ERR_KW_CONFIG that lists every unknown field with the nearest known one, every value that does not fit, and every field that
 *   would have no effect.
 */
export function parseConfig(value: unknown, source = 'configuration'): NetworkConfig {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(source, 'expected a JSON object of fields such as model');
  const { nb_classes: classes, ...given } = value as Record<string, unknown>;
  if (classes !== undefined) {
    if (given.num_classes !== undefined) fail(source, 'num_classes and nb_classes are the same; give one');
    given.num_classes = classes;
  }

  const known = Object.keys(fields);
  const problems: string[] = [];
  for (const field of Object.keys(given)) {
    if (Object.hasOwn(fields, field)) continue;
    const nearest = nearestName(field, known);
    problems.push(`unknown field ${field}${nearest === undefined ? '' : `, did you mean ${nearest}?`}`);
  }
  const parsed = schema.safeParse(given);
  if (!parsed.success) {
    for (const issue of parsed.error.issues) problems.push(`${issue.path.join('.')}: ${expectation(issue, given)}`);
  }
  const unread = describeUnreadFields(given);
  if (unread !== undefined) problems.push(unread);
  if (problems.length > 0 || !parsed.success) fail(source, problems.join('; '));
  return parsed.data;
}

/**
 * Reads a configuration file.
 * @throws ERR_KW_CONFIG for a file that cannot be read or is not a configuration.
 */
export function readConfig(path: string): NetworkConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return fail(path, `cannot read the configuration (${(error as Error).message})`, error);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return fail(path, `not a JSON file (${(error as Error).message})`, error);
  }
  return parseConfig(value, path);
}

/** Files are data: they stay in lib/, which is published beside dist/. */
const folder = fileURLToPath(new URL('../../../lib/configurations/official/', import.meta.url));

/**
 * Names of the configurations in this package, such as `kw1x_resnet18`, in alphabetical order: those that the authors released and, in the
 * same format, those of the paper's other rows.
 */
export function officialConfigNames(): readonly string[] {
  const names = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return names.map((file) => file.slice(0, -'.json'.length)).sort();
}

/**
 * The configuration in this package with this name.
 * @throws ERR_KW_UNKNOWN_NETWORK, with the nearest name, if there is none.
 */
export function officialConfig(name: string): NetworkConfig {
  const names = officialConfigNames();
  if (!names.includes(name)) {
    const nearest = nearestName(name, names);
    const hint = nearest === undefined ? `known are ${names.join(', ')}` : `did you mean ${nearest}?`;
    throw new KernelWarehouseError('ERR_KW_UNKNOWN_NETWORK', `no configuration is called ${name}; ${hint}`);
  }
  return readConfig(`${folder}${name}.json`);
}

/** The options of `allocate` that a configuration sets; those that it leaves out are absent. */
export function allocationOptions(config: NetworkConfig): AllocationOptions {
  return optionsFromFields(warehouseOptions, config);
}

/** The options of a method other than KernelWarehouse that a configuration sets; those that it leaves out are absent. */
export function methodOptions(config: NetworkConfig): MethodOptions {
  return optionsFromFields(methodDeclarations, config);
}
