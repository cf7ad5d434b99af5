/**
 * Convolutional networks as plain data, for JSON files and for programs that change networks. A description is a sequence of layers.
 * `describedNetwork` makes a network of it, and `replaceConvolutions` chooses the layers that are dynamic in the KernelWarehouse variant.
 */
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import { nearestName } from '../validation/nearest_name.js';
import { optionFields } from '../validation/option.js';
import { expectation } from '../validation/schema_problem.js';
import { type AllocationOptions, warehouseOptions } from '../warehouse/index.js';

/** A number of channels or features, or the number of classes. */
export type Width = number | 'classes';

/** [N, H, W, I] to [N, OH, OW, outChannels]; the input gives the number of input channels. */
export interface Conv2dDescription {
  readonly kind: 'conv2d';
  /** Module name in the state dict, such as `layer1.0.conv1`. */
  readonly name: string;
  readonly outChannels: Width;
  /** Height and width; defaults to 1. */
  readonly kernel?: number;
  /** Defaults to 1. */
  readonly stride?: number;
  /** On each side; defaults to 0. */
  readonly padding?: number;
  /** Defaults to 1. */
  readonly dilation?: number;
  /** Defaults to 1; as many groups as input channels make it depth-wise. */
  readonly groups?: number;
  /** Defaults to false. */
  readonly bias?: boolean;
  /** Place for warehouse sharing, such as `stage0_layer1_conv0`; a layer without one is always static. */
  readonly sharingName?: string;
}

/** [..., I] to [..., outFeatures]. */
export interface LinearDescription {
  readonly kind: 'linear';
  readonly name: string;
  readonly outFeatures: Width;
  /** Defaults to true. */
  readonly bias?: boolean;
  /** As a convolution's. */
  readonly sharingName?: string;
}

interface NormDescription {
  readonly kind: 'batch_norm' | 'layer_norm';
  readonly name: string;
  /** Defaults to 1e-5. */
  readonly epsilon?: number;
}

/** Layers without stored tensors. A name here is only for messages and tables of costs. */
interface ActivationDescription {
  readonly kind: 'relu' | 'relu6' | 'gelu';
  readonly name?: string;
}

interface MaxPool2dDescription {
  readonly kind: 'max_pool2d';
  readonly name?: string;
  readonly kernel: number;
  /** Defaults to the kernel. */
  readonly stride?: number;
  /** On each side; defaults to 0. */
  readonly padding?: number;
}

/** [N, H, W, C] to [N, C]. */
interface GlobalAvgPoolDescription {
  readonly kind: 'global_avg_pool';
  readonly name?: string;
}

/** Drops elements in training with the model's option `dropout`. */
interface DropoutDescription {
  readonly kind: 'dropout';
  readonly name?: string;
}

/** The sum of `layers` applied to x and of the shortcut. In training, the model's option `dropPath` drops the former for some samples. */
export interface ResidualDescription {
  readonly kind: 'residual';
  readonly name?: string;
  readonly layers: readonly LayerDescription[];
  /** Defaults to x itself. */
  readonly shortcut?: readonly LayerDescription[];
}

/** Marks the end of a stage: the activations here are one of the network's feature maps. Not allowed inside residuals. */
export interface StageDescription {
  readonly kind: 'stage';
}

export type LayerDescription =
  | Conv2dDescription
  | LinearDescription
  | NormDescription
  | ActivationDescription
  | MaxPool2dDescription
  | GlobalAvgPoolDescription
  | DropoutDescription
  | ResidualDescription;

export interface NetworkDescription {
  /** From images [N, H, W, 3] to logits [N, classes]. */
  readonly layers: readonly (LayerDescription | StageDescription)[];
  /** How the KernelWarehouse variant makes its warehouses, unless a configuration says otherwise. */
  readonly warehouse?: AllocationOptions;
}

const positiveWhole = 'expected a positive whole number';
const count = z.int(positiveWhole).positive(positiveWhole);
const fromZero = 'expected a whole number, at least 0';
const countFromZero = z.int(fromZero).nonnegative(fromZero);
const width = z.union([count, z.literal('classes')], { error: `${positiveWhole} or 'classes'` });
const name = z.string().regex(/^\w[\w.-]*$/, 'expected a name of letters, digits, _, - and .');
const sharingName = z.string().min(1);
const withoutTensors = { name: name.exactOptional() };
const norm = { name, epsilon: z.number().positive().exactOptional() };

/** Resolved when used, because a residual contains layers. */
const innerLayers: z.ZodType<readonly LayerDescription[]> = z.lazy(() => z.array(layerSchema).nonempty('expected at least one layer'));

const kinds = {
  conv2d: z.strictObject({
    kind: z.literal('conv2d'),
    name,
    outChannels: width,
    kernel: count.exactOptional(),
    stride: count.exactOptional(),
    padding: countFromZero.exactOptional(),
    dilation: count.exactOptional(),
    groups: count.exactOptional(),
    bias: z.boolean().exactOptional(),
    sharingName: sharingName.exactOptional(),
  }),
  linear: z.strictObject({
    kind: z.literal('linear'),
    name,
    outFeatures: width,
    bias: z.boolean().exactOptional(),
    sharingName: sharingName.exactOptional(),
  }),
  batch_norm: z.strictObject({ kind: z.literal('batch_norm'), ...norm }),
  layer_norm: z.strictObject({ kind: z.literal('layer_norm'), ...norm }),
  relu: z.strictObject({ kind: z.literal('relu'), ...withoutTensors }),
  relu6: z.strictObject({ kind: z.literal('relu6'), ...withoutTensors }),
  gelu: z.strictObject({ kind: z.literal('gelu'), ...withoutTensors }),
  max_pool2d: z.strictObject({
    kind: z.literal('max_pool2d'),
    ...withoutTensors,
    kernel: count,
    stride: count.exactOptional(),
    padding: countFromZero.exactOptional(),
  }),
  global_avg_pool: z.strictObject({ kind: z.literal('global_avg_pool'), ...withoutTensors }),
  dropout: z.strictObject({ kind: z.literal('dropout'), ...withoutTensors }),
  residual: z.strictObject({
    kind: z.literal('residual'),
    ...withoutTensors,
    layers: innerLayers,
    shortcut: innerLayers.exactOptional(),
  }),
};

const innerKinds = Object.keys(kinds);
const stage = z.strictObject({ kind: z.literal('stage') });

function oneOf(known: readonly string[]): { readonly error: string } {
  return { error: `expected an object whose kind is one of ${known.join(', ')}` };
}

const { conv2d, linear, batch_norm, layer_norm, relu, relu6, gelu, max_pool2d, global_avg_pool, dropout, residual } = kinds;
const layerSchemas = [conv2d, linear, batch_norm, layer_norm, relu, relu6, gelu, max_pool2d, global_avg_pool, dropout, residual] as const;
const layerSchema: z.ZodType<LayerDescription> = z.discriminatedUnion('kind', layerSchemas, oneOf(innerKinds));
const outerLayerSchema: z.ZodType<LayerDescription | StageDescription> = z.discriminatedUnion(
  'kind',
  [...layerSchemas, stage],
  oneOf([...innerKinds, 'stage']),
);

const descriptionFields = {
  layers: z.array(outerLayerSchema).nonempty('expected at least one layer'),
  warehouse: z.strictObject(optionFields(warehouseOptions)).exactOptional(),
};

const schema: z.ZodType<NetworkDescription> = z.strictObject(descriptionFields);

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

/** The layer that a path leads to, by its name or index, and the rest of the path: `layer1.0.conv1: kernel`. */
function placeOf(path: readonly PropertyKey[], value: unknown): string {
  let part = value;
  let layer = '';
  let rest: PropertyKey[] = [];
  path.forEach((key, index) => {
    part = isObject(part) ? part[key as string] : undefined;
    rest.push(key);
    if (typeof key !== 'number' || !isObject(part) || path[0] !== 'layers') return;
    const place = path.slice(0, index + 1).join('.');
    layer = typeof part.name === 'string' ? `layer '${part.name}' (${place})` : place;
    rest = [];
  });
  return [layer, rest.join('.')].filter((text) => text !== '').join(': ');
}

/** The fields that the object at a path may have. */
function knownFields(path: readonly PropertyKey[], value: unknown): string[] {
  if (path.length === 0) return Object.keys(descriptionFields);
  if (path[0] === 'warehouse') return Object.keys(warehouseOptions);
  let part = value;
  for (const key of path) part = isObject(part) ? part[key as string] : undefined;
  const kind = isObject(part) ? String(part.kind) : '';
  return Object.hasOwn(kinds, kind) ? Object.keys(kinds[kind as keyof typeof kinds].shape) : ['kind'];
}

function problemsOf(issue: z.core.$ZodIssue, value: unknown): string[] {
  const place = placeOf(issue.path, value);
  const located = (problem: string) => (place === '' ? problem : `${place}: ${problem}`);
  if (issue.code !== 'unrecognized_keys') return [located(expectation(issue, value))];
  return issue.keys.map((key) => {
    const nearest = nearestName(key, knownFields(issue.path, value));
    return located(`unknown field ${key}${nearest === undefined ? '' : `, did you mean ${nearest}?`}`);
  });
}

/** Far more than networks have. Anything deeper than the stack would end in an error of its own. */
const DEEPEST_RESIDUAL = 50;

/** Goes level by level, without recursion, and visits each object of a level once, so a description that contains itself ends too. */
function isTooDeep(value: unknown): boolean {
  // A residual is two levels, its object and the list of its layers; so is the whole description.
  const most = 2 * DEEPEST_RESIDUAL + 2;
  let level = [value].filter(isObject);
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > most) return true;
    level = [...new Set(level.flatMap((part) => Object.values(part).filter(isObject)))];
  }
  return false;
}

/** Every layer, including those inside residuals, in the order in which they are built. */
export function* everyLayer(layers: NetworkDescription['layers']): Generator<LayerDescription | StageDescription> {
  for (const layer of layers) {
    yield layer;
    if (layer.kind === 'residual') yield* everyLayer([...layer.layers, ...(layer.shortcut ?? [])]);
  }
}

function repeatedNames(layers: NetworkDescription['layers']): string[] {
  const seen = new Set<string>();
  const repeated = new Set<string>();
  for (const layer of everyLayer(layers)) {
    const hasTensors = layer.kind === 'conv2d' || layer.kind === 'linear' || layer.kind === 'batch_norm' || layer.kind === 'layer_norm';
    if (!hasTensors) continue;
    if (seen.has(layer.name)) repeated.add(layer.name);
    seen.add(layer.name);
  }
  return [...repeated];
}

/**
 * Checks a description that came as data, such as from a JSON file.
 * @param source names it in messages, such as a file's path
 * @throws ERR_KW_CONFIG that lists every field that does not fit, with its layer, what was expected and what came, and every layer name
 *   that occurs twice. Whether the layers fit each other is only known when a model is made.
 */
export function parseDescription(value: unknown, source = 'network description'): NetworkDescription {
  if (isTooDeep(value)) {
    throw new KernelWarehouseError(
      'ERR_KW_CONFIG',
      `${source}: expected at most ${DEEPEST_RESIDUAL} residuals inside each other, but they go deeper, or without end`,
    );
  }
  const parsed = schema.safeParse(value);
  const problems = parsed.success
    ? repeatedNames(parsed.data.layers).map(
        (repeated) => `layer '${repeated}': two layers have this name; stored tensors need names of their own`,
      )
    : parsed.error.issues.flatMap((issue) => problemsOf(issue, value));
  if (problems.length > 0 || !parsed.success) throw new KernelWarehouseError('ERR_KW_CONFIG', `${source}: ${problems.join('; ')}`);
  return parsed.data;
}
