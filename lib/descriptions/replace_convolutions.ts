/** Chooses the layers of a description that are dynamic in its KernelWarehouse variant, and which of them share a warehouse. */
import { KernelWarehouseError } from '../errors.js';
import { checkNames } from '../validation/known_names.js';
import { nearestName } from '../validation/nearest_name.js';
import { sharingName } from '../warehouse/index.js';
import {
  type Conv2dDescription,
  everyLayer,
  type LayerDescription,
  type LinearDescription,
  type NetworkDescription,
  parseDescription,
  type StageDescription,
} from './description.js';

/** A layer that can be dynamic. */
export type ReplaceableLayer = Conv2dDescription | LinearDescription;

export interface ReplaceOptions {
  /** Which kinds of layers become dynamic; by default only convolutions. */
  readonly kinds?: readonly ReplaceableLayer['kind'][];
  /**
   * Which layers of these kinds become dynamic: their names, or a function that decides for each. By default all except the network's first
   * convolution and its classifier (the last convolution or linear layer).
   */
  readonly layers?: readonly string[] | ((layer: ReplaceableLayer) => boolean);
  /**
   * Whether the first layers of a stage share with the stage before (paper, appendix A.3 and Table 15). Their kernels read the channels of
   * that stage, and would halve the common divisors in their own. Default true.
   */
  readonly reassign?: boolean;
}

/** Prefixes for sharing: the layers of a stage with the same word share, whatever their position. */
const sharingRange = ['layer', 'conv', 'groupconv', 'linear'];

/**
 * Layers with different words never share: a grouped kernel has too few input channels to have a divisor in common with others, and the
 * cells of a linear layer have another shape.
 */
function word(layer: ReplaceableLayer): string {
  if (layer.kind === 'linear') return 'linear';
  return (layer.groups ?? 1) > 1 ? 'groupconv' : 'conv';
}

interface Position {
  readonly layer: ReplaceableLayer;
  /** Whether no layer with a kernel is between it and the input of the unit. */
  readonly isFirst: boolean;
  readonly isShortcut: boolean;
}

/** The layers of a unit that have kernels, in building order. */
function* positionsIn(layers: readonly LayerDescription[], startsUnit: boolean, isShortcut: boolean): Generator<Position> {
  let isFirst = startsUnit;
  for (const layer of layers) {
    if (layer.kind === 'conv2d' || layer.kind === 'linear') {
      yield { layer, isFirst, isShortcut };
      isFirst = false;
    } else if (layer.kind === 'residual') {
      yield* positionsIn(layer.layers, isFirst, isShortcut);
      yield* positionsIn(layer.shortcut ?? [], isFirst, true);
      isFirst = false;
    }
  }
}

/** The factor by which a sequence divides height and width. */
function strideOf(layers: readonly LayerDescription[]): number {
  return layers.reduce((product, layer) => {
    switch (layer.kind) {
      case 'conv2d':
        return product * (layer.stride ?? 1);
      case 'max_pool2d':
        return product * (layer.stride ?? layer.kernel);
      case 'global_avg_pool':
        return Number.POSITIVE_INFINITY;
      case 'residual':
        return product * strideOf(layer.layers);
      default:
        return product;
    }
  }, 1);
}

function isReplaceable(layer: { readonly kind: string }): layer is ReplaceableLayer {
  return layer.kind === 'conv2d' || layer.kind === 'linear';
}

function fail(message: string): never {
  throw new KernelWarehouseError('ERR_KW_CONFIG', `replaceConvolutions: ${message}`);
}

/** One entry for each option, so that the compiler misses none that is added. */
const optionNames: Readonly<Record<keyof ReplaceOptions, true>> = { kinds: true, layers: true, reassign: true };

function checkOptions(options: ReplaceOptions): void {
  checkNames(options, Object.keys(optionNames), 'replaceConvolutions', 'ERR_KW_CONFIG');
  const { kinds = [], layers = [], reassign = true } = options;
  if (!Array.isArray(kinds) || kinds.some((kind) => !isReplaceable({ kind }))) fail('expected kinds to be a list of conv2d and linear');
  if (!Array.isArray(layers) && typeof layers !== 'function') fail('expected layers to be a list of names, or a function');
  if (typeof reassign !== 'boolean') fail('expected reassign to be true or false');
}

/** The names of the chosen layers. */
function chooseLayers(layers: NetworkDescription['layers'], { kinds = ['conv2d'], layers: wanted }: ReplaceOptions): ReadonlySet<string> {
  const all = [...everyLayer(layers)].filter(isReplaceable);
  const ofKinds = all.filter(({ kind }) => kinds.includes(kind));
  let chosen: readonly ReplaceableLayer[];
  if (wanted === undefined) {
    const firstConvolution = all.find(({ kind }) => kind === 'conv2d');
    chosen = ofKinds.filter((layer) => layer !== firstConvolution && layer !== all.at(-1));
  } else if (typeof wanted === 'function') {
    chosen = ofKinds.filter(wanted);
  } else {
    for (const name of wanted) {
      const layer = all.find((one) => one.name === name);
      if (!layer) {
        const nearest = nearestName(
          name,
          all.map((one) => one.name),
        );
        fail(`no convolution or linear layer is called '${name}'${nearest === undefined ? '' : `, did you mean '${nearest}'?`}`);
      } else if (!ofKinds.includes(layer)) fail(`'${name}' is ${layer.kind}; add that to the kinds, which are ${kinds.join(', ')}`);
    }
    chosen = ofKinds.filter(({ name }) => wanted.includes(name));
  }
  if (chosen.length === 0) fail('these options choose no layer; a network needs at least one for a KernelWarehouse variant');
  return new Set(chosen.map(({ name }) => name));
}

/** Sharing names of the layers with kernels in a unit. */
function unitNames(positions: readonly Position[], stage: number, unit: number, unitsBefore: number | undefined): string[] {
  const counts = new Map<string, number>();
  const next = (key: string): number => {
    const index = counts.get(key) ?? 0;
    counts.set(key, index + 1);
    return index;
  };
  return positions.map(({ layer, isFirst, isShortcut }) => {
    const kind = word(layer);
    const index = next(kind);
    if (unitsBefore === undefined || !isFirst) return sharingName(stage, unit, `${kind}${index}`);
    if (!isShortcut) return sharingName(stage - 1, unitsBefore, `${kind}${index}`);
    return sharingName(stage - 1, unitsBefore + 1, `${kind}${next(`shortcut ${kind}`)}`);
  });
}

/** Sharing names of all layers with kernels, from the unit of the first chosen one on. */
function sharingNames(layers: NetworkDescription['layers'], chosen: ReadonlySet<string>, reassign: boolean): Map<string, string> {
  const names = new Map<string, string>();
  /** The number of units in each stage so far. A unit is a residual, or a layer with a kernel outside of residuals. */
  const units: number[] = [];
  let reduction = 1;
  let stageReduction = 1;
  for (const layer of layers) {
    if (layer.kind === 'stage') continue;
    const positions = [...positionsIn([layer], true, false)];
    if (units.length === 0 && positions.some((position) => chosen.has(position.layer.name))) {
      units.push(0);
      stageReduction = reduction;
    }
    reduction *= strideOf([layer]);
    if (units.length === 0 || positions.length === 0) continue;
    const beginsStage = reduction > stageReduction;
    if (beginsStage) units.push(0);
    stageReduction = reduction;
    const stage = units.length - 1;
    const unit = units[stage] as number;
    units[stage] = unit + 1;
    unitNames(positions, stage, unit, beginsStage && reassign ? units[stage - 1] : undefined).forEach((name, index) =>
      names.set((positions[index] as Position).layer.name, name),
    );
  }
  return names;
}

function withSharingName<T extends LayerDescription | StageDescription>(layer: T, names: ReadonlyMap<string, string>): T;
function withSharingName(
  layer: LayerDescription | StageDescription,
  names: ReadonlyMap<string, string>,
): LayerDescription | StageDescription {
  if (layer.kind === 'residual') {
    const { layers, shortcut } = layer;
    const inner = (sequence: readonly LayerDescription[]) => sequence.map((one) => withSharingName(one, names));
    return { ...layer, layers: inner(layers), ...(shortcut === undefined ? {} : { shortcut: inner(shortcut) }) };
  }
  if (!isReplaceable(layer)) return layer;
  const { sharingName: _before, ...rest } = layer;
  const name = names.get(layer.name);
  return name === undefined ? rest : { ...rest, sharingName: name };
}

/**
 * A new description whose convolutions have sharing names, so that they are dynamic in the KernelWarehouse variant. The given description
 * does not change, and sharing names that it has are ignored.
 *
 * Layers share a warehouse with those of their stage. A stage ends where the resolution falls, by the stride of a convolution, of a pool or
 * of a residual's layers; the first stage begins with the feature map that the first chosen layer reads. The first layers of a stage, which
 * read what the stage before has made (including the shortcut of a residual), share with the stage before, as in the paper's Table 15.
 * Grouped convolutions and linear layers have warehouses of their own in each stage.
 *
 * For a ResNet-18 this gives the warehouses of `kw_resnet18`: conv1 and the classifier stay static; warehouse 0 serves layer1 with
 * layer2.0.conv1 and its shortcut, and so on. In a ResNet-50 the authors leave part of the first bottleneck static: leave out
 * layer1.0.conv1 and layer1.0.downsample.0 to get the warehouses of `kw_resnet50`.
 *
 * The result's `warehouse.sharingRange` is set unless the description has one.
 * @throws ERR_KW_CONFIG for an invalid description, options that do not exist, names of layers that do not exist or are of another kind,
 *   and if no layer is chosen.
 */
export function replaceConvolutions(description: NetworkDescription, options: ReplaceOptions = {}): NetworkDescription {
  checkOptions(options);
  const { layers, warehouse } = parseDescription(description);
  const chosen = chooseLayers(layers, options);
  const names = sharingNames(layers, chosen, options.reassign ?? true);
  const ofChosen = new Map([...names].filter(([name]) => chosen.has(name)));
  return { layers: layers.map((layer) => withSharingName(layer, ofChosen)), warehouse: { sharingRange, ...warehouse } };
}
