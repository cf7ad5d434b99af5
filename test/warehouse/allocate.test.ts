/** Every configuration of test/golden/allocation.json, computed by the authors' own code, must come out exactly. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { allocationOptions, officialConfig, officialConfigNames } from '../../lib/models/config.js';
import { type AllocationOptions, allocate, type LayerAllocation, type LayerShape } from '../../lib/warehouse/index.js';
import { convNextLayers, deitLayers, halfMobileNetOptions, mobileNetLayers, residualLayers } from './networks.js';

interface GoldenLayer {
  readonly name: string;
  readonly weightShape: readonly number[];
  readonly inPlanes: number;
  readonly groups: number;
  readonly mixtures: number;
  readonly startCell: number;
  readonly hidden: number;
  readonly bias: boolean;
  readonly attentionParams: number;
  readonly odHeads?: { readonly channel: number; readonly filter: number; readonly spatial: number };
}

interface GoldenConfig {
  readonly config: string;
  readonly params: number;
  readonly attentionNorm: 'BatchNorm1d' | 'LayerNorm';
  readonly warehouseParams: number;
  readonly attentionParams: number;
  readonly staticParams: number;
  readonly warehouses: readonly {
    readonly name: string;
    readonly cell: readonly number[];
    readonly m: number;
    readonly n: number;
    readonly b: number;
    readonly reduction: number;
    readonly layers: readonly GoldenLayer[];
  }[];
}

const golden = (
  JSON.parse(readFileSync(new URL('../../../test/golden/allocation.json', import.meta.url), 'utf8')) as { configs: readonly GoldenConfig[] }
).configs;

/** Warehouses of the split ConvNeXt: stem, three downsamplers, then two for each of six stages or parts. */
const convNextHalves = (half: number): number[] => Array.from({ length: 16 }, (_, index) => (index === 13 || index === 15 ? half : 1));

/** Layers and options of the configurations that have no official file, or add something to it. */
const variants: Readonly<Record<string, readonly [layers: LayerShape[], options: AllocationOptions]>> = {
  kw1x_resnet18_within_layer: [residualLayers([2, 2, 2, 2], false), {}],
  kw1x_resnet50_same_dimension: [residualLayers([3, 4, 6, 3], true), { sharingRange: ['layer'] }],
  'kw1d4x_resnet18_reduction0.073': [
    residualLayers([2, 2, 2, 2], false),
    { ...allocationOptions(officialConfig('kw1d4x_resnet18')), reduction: 0.073 },
  ],
  kw1d2x_mobilenetv2_050: [mobileNetLayers(0.5, true), halfMobileNetOptions],
  kw1d2x_mobilenetv2_100: [mobileNetLayers(1, true), halfMobileNetOptions],
  kwstar4x_mobilenetv2_100: [mobileNetLayers(1), allocationOptions(officialConfig('kw4x_mobilenetv2_100'))],
  kw1x_convnext_tiny_split: [convNextLayers(true), { sharingRange: 'layer_pwconv', reduction: 1 / 32, attentionNorm: 'layer' }],
  kw3d4x_convnext_tiny_split: [
    convNextLayers(true),
    {
      sharingRange: 'layer_pwconv',
      reduction: 1 / 32,
      attentionNorm: 'layer',
      budget: convNextHalves(0.5),
      cellInRatio: convNextHalves(0.5),
      cellOutRatio: convNextHalves(0.5),
    },
  ],
  kw1x_deit_small: [deitLayers(384), { sharingRange: ['layer', 'linear'], attentionNorm: 'layer' }],
  kw3d4x_deit_small: [
    deitLayers(384),
    {
      sharingRange: ['layer', 'linear'],
      attentionNorm: 'layer',
      reduction: 1 / 32,
      budget: [1, 1, 0.5, 0.5],
      cellInRatio: [1, 1, 0.5, 0.5],
      cellOutRatio: [1, 1, 0.5, 0.5],
    },
  ],
  kw1x_deit_tiny: [deitLayers(192), { sharingRange: ['layer', 'linear'], attentionNorm: 'layer' }],
  kw4x_deit_tiny: [deitLayers(192), { sharingRange: ['layer'], attentionNorm: 'layer', budget: 4, reduction: 1 / 8 }],
};

function official(name: string): readonly [LayerShape[], AllocationOptions] {
  const config = officialConfig(name);
  const options = allocationOptions(config);
  switch (config.model) {
    case 'kw_resnet18':
      return [residualLayers([2, 2, 2, 2], false), options];
    case 'kw_resnet50':
      return [residualLayers([3, 4, 6, 3], true), options];
    case 'kw_mobilenetv2_050':
      return [mobileNetLayers(0.5), options];
    case 'kw_mobilenetv2_100':
      return [mobileNetLayers(1), options];
    case 'kw_convnext_tiny':
      return [convNextLayers(false), { ...options, attentionNorm: 'layer' }];
    default:
      throw new Error(`no layers for ${config.model}`);
  }
}

/** The golden file writes every shape with two spatial dimensions. */
function twoDimensional(shape: readonly number[]): number[] {
  return [...shape, 1].slice(0, 4);
}

/** Parameters of the extra heads of KW*, which are no part of an allocation. */
function headParameters({ hidden, odHeads: heads }: GoldenLayer): number {
  return heads ? (hidden + 1) * (heads.channel + heads.filter + heads.spatial) : 0;
}

function summary(layer: LayerAllocation) {
  return {
    name: layer.name,
    weightShape: twoDimensional(layer.weightShape),
    inPlanes: layer.inChannels,
    groups: layer.groups,
    mixtures: layer.mixtures,
    startCell: layer.startCell,
    hidden: layer.attention.hidden,
    bias: layer.bias,
    attentionParams: layer.attentionParameters,
  };
}

for (const expected of golden) {
  test(`allocates ${expected.config} as the authors do`, (t) => {
    const [layers, options] = variants[expected.config] ?? official(expected.config);
    const allocation = allocate(layers, options);

    t.deepEqual(
      allocation.warehouses.map((warehouse) => ({
        name: warehouse.name,
        cell: twoDimensional(warehouse.cell),
        m: warehouse.m,
        n: warehouse.n,
        b: warehouse.budget,
        reduction: warehouse.reduction,
        layers: warehouse.layers.map(summary),
      })),
      expected.warehouses.map((warehouse) => ({
        ...warehouse,
        layers: warehouse.layers.map((layer) => {
          const { odHeads: _, ...rest } = layer;
          return { ...rest, attentionParams: layer.attentionParams - headParameters(layer) };
        }),
      })),
    );
    const heads = expected.warehouses.flatMap((warehouse) => warehouse.layers.map(headParameters)).reduce((sum, value) => sum + value, 0);
    t.is(allocation.cellParameters, expected.warehouseParams);
    t.is(allocation.attentionParameters, expected.attentionParams - heads);
    t.is(allocation.parameters + heads + expected.staticParams, expected.params);
    for (const { attention } of allocation.warehouses.flatMap((warehouse) => warehouse.layers)) {
      t.is(attention.norm === 'batch', expected.attentionNorm === 'BatchNorm1d');
    }
  });
}

test('the golden file covers every official configuration of a KernelWarehouse network', (t) => {
  const covered = new Set(golden.map(({ config }) => config));
  t.deepEqual(
    officialConfigNames().filter((name) => name.startsWith('kw') && !covered.has(name)),
    [],
  );
});
