/**
 * Configuration files in the format of the authors' `configs/<family>/<name>.json`: field names are the command-line options of their
 * training script. What a file leaves out is left to the model's and the recipe's defaults.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import { type MethodOptions, methodOptionOfField } from '../methods/options.js';
import { nearestName } from '../validation/nearest_name.js';
import { expectation } from '../validation/schema_problem.js';
import { type AllocationOptions, attentionFunctions, attentionInitializations } from '../warehouse/index.js';

const positive = z.number().positive();
const fromZero = z.number().nonnegative();
const probability = z.number().min(0).max(1);
const count = z.int().positive();
const countFromZero = z.int().nonnegative();
/** One value, or one for each warehouse. */
const perWarehouse = z.union([positive, z.array(positive).nonempty('expected at least one value')], {
  error: 'expected a positive number, or a list of them',
});
const initialization = z.enum(attentionInitializations);

const fields = {
  /** Name of the network, such as kw_resnet18. */
  model: z.string().min(1),
  num_classes: count.optional(),
  dropout: probability.optional(),
  drop_path: probability.optional(),
  layer_scale_init_value: fromZero.optional(),
  head_init_scale: fromZero.optional(),
  input_size: count.optional(),

  reduction: perWarehouse.optional(),
  cell_num_ratio: perWarehouse.optional(),
  cell_inplane_ratio: perWarehouse.optional(),
  cell_outplane_ratio: perWarehouse.optional(),
  sharing_range: z.union([z.string(), z.array(z.string().min(1))], { error: 'expected prefixes, as a string or a list' }).optional(),
  nonlocal_basis_ratio: perWarehouse.optional(),
  /** Not in the authors' files, but an option of their warehouses. */
  spatial_partition: z
    .union([z.boolean(), z.array(z.boolean()).nonempty('expected at least one value')], {
      error: 'expected true or false, or a list of them',
    })
    .optional(),
  /** The paper's ablations, which the authors' files do not have either; see `AllocationOptions`. */
  same_dimensions: z.boolean().optional(),
  cell_sharing: z.boolean().optional(),
  attention_function: z.enum(attentionFunctions).optional(),
  attention_initialization: z
    .union([initialization, z.array(initialization).nonempty('expected at least one value')], {
      error: `expected ${attentionInitializations.join(', ')}, or a list of them`,
    })
    .optional(),
  odconv_attentions: z.boolean().optional(),
  odconv_temperature: positive.optional(),
  /** Options of the other methods, see `MethodOptions`; they read `reduction` and `attention_function` too. */
  kernel_num: count.optional(),
  dynamic_stem: z.boolean().optional(),
  attention_floor: count.optional(),
  attention_bias: z.boolean().optional(),
  eca_kernel_sizes: z.array(count).optional(),
  /** Epochs until the softmax temperature of DY-Conv and ODConv is 1. */
  softmax_temp_epoch: fromZero.optional(),
  /** Epochs until the temperature is 0. */
  temp_epoch: fromZero.optional(),
  temp_init_value: probability.optional(),

  epochs: count.optional(),
  batch_size: count.optional(),
  update_freq: count.optional(),
  opt: z.string().optional(),
  opt_eps: positive.optional(),
  opt_betas: z.tuple([probability, probability]).nullable().optional(),
  momentum: probability.optional(),
  clip_grad: positive.nullable().optional(),
  lr: positive.optional(),
  min_lr: fromZero.optional(),
  warmup_epochs: countFromZero.optional(),
  /** The authors' -1 means: as warmup_epochs says. */
  warmup_steps: z.int().min(-1).optional(),
  weight_decay: fromZero.optional(),
  weight_decay_end: fromZero.nullable().optional(),
  model_ema: z.boolean().optional(),
  model_ema_decay: probability.optional(),
  model_ema_eval: z.boolean().optional(),
  use_amp: z.boolean().optional(),
  seed: countFromZero.optional(),

  traditional_preprocess: z.boolean().optional(),
  color_jitter: fromZero.optional(),
  /** AutoAugment policy; null is none. */
  aa: z.string().nullable().optional(),
  smoothing: probability.optional(),
  train_interpolation: z.enum(['random', 'bilinear', 'bicubic']).optional(),
  crop_pct: probability.nullable().optional(),
  reprob: probability.optional(),
  remode: z.enum(['const', 'rand', 'pixel']).optional(),
  recount: count.optional(),
  mixup: fromZero.optional(),
  cutmix: fromZero.optional(),
  cutmix_minmax: z.tuple([probability, probability]).nullable().optional(),
  mixup_prob: probability.optional(),
  mixup_switch_prob: probability.optional(),
  mixup_mode: z.enum(['batch', 'pair', 'elem']).optional(),
};

const schema = z.object(fields);

/** A configuration with the official field names. `nb_classes`, as the authors' script says, is read as `num_classes`. */
export type NetworkConfig = z.infer<typeof schema>;

function fail(source: string, problems: string, cause?: unknown): never {
  throw new KernelWarehouseError('ERR_KW_CONFIG', `${source}: ${problems}`, cause === undefined ? undefined : { cause });
}

/**
 * Checks a configuration that came as data.
 * @param source names it in messages, such as a file's path
 * @throws ERR_KW_CONFIG that lists every unknown field with the nearest known one, and every value that does not fit.
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
 * Names of the configurations that come with the package, such as `kw1x_resnet18`, in alphabetical order: those that the authors released
 * and, written in their format, those of the paper's other rows.
 */
export function officialConfigNames(): readonly string[] {
  const names = readdirSync(folder).filter((file) => file.endsWith('.json'));
  return names.map((file) => file.slice(0, -'.json'.length)).sort();
}

/**
 * The configuration that comes with the package under a name.
 * @throws ERR_KW_UNKNOWN_NETWORK, with the nearest name, when there is none.
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

/** The option of `allocate` that each field gives. */
const optionOfField = {
  reduction: 'reduction',
  cell_num_ratio: 'budget',
  cell_inplane_ratio: 'cellInRatio',
  cell_outplane_ratio: 'cellOutRatio',
  nonlocal_basis_ratio: 'nonlocalBasisRatio',
  sharing_range: 'sharingRange',
  spatial_partition: 'spatialPartition',
  same_dimensions: 'sameDimensions',
  cell_sharing: 'cellSharing',
  attention_function: 'attentionFunction',
  attention_initialization: 'attentionInitialization',
  odconv_attentions: 'odconvAttentions',
  odconv_temperature: 'odconvTemperature',
} as const satisfies Partial<Record<keyof NetworkConfig, keyof AllocationOptions>>;

/** Fields of a configuration that make its warehouses. */
export const warehouseConfigFields = Object.keys(optionOfField) as readonly (keyof typeof optionOfField)[];

/** The options of `allocate` that a configuration gives; those that it leaves out are absent. */
export function allocationOptions(config: NetworkConfig): AllocationOptions {
  const given = warehouseConfigFields.filter((field) => config[field] !== undefined);
  return Object.fromEntries(given.map((field) => [optionOfField[field], config[field]]));
}

/** Fields of a configuration that set options of a method other than KernelWarehouse. */
export const methodConfigFields = Object.keys(methodOptionOfField) as readonly (keyof typeof methodOptionOfField)[];

/** The options that a configuration gives to a method other than KernelWarehouse; those that it leaves out are absent. */
export function methodOptions(config: NetworkConfig): MethodOptions {
  const given = methodConfigFields.filter((field) => config[field] !== undefined);
  return Object.fromEntries(given.map((field) => [methodOptionOfField[field], config[field]]));
}
