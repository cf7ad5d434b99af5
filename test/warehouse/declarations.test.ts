/** Declarations carry the official names and shapes; initial values have the authors' deviations. */
import test from 'ava';
import { allocationOptions, officialConfig } from '../../lib/configurations/configuration.js';
import { fillInitialValues } from '../../lib/graph/initial_values.js';
import { allocate, cellDeclarations, type LayerShape, layerDeclarations } from '../../lib/warehouse/index.js';
import { residualLayers } from './networks.js';

const product = (values: readonly number[]) => values.reduce((a, b) => a * b, 1);

function deviation(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

test('declared values add up to the parameter counts', (t) => {
  for (const name of ['kw1x_resnet18', 'kw1d2x_resnet50']) {
    const bottleneck = name.endsWith('50');
    const allocation = allocate(
      residualLayers(bottleneck ? [3, 4, 6, 3] : [2, 2, 2, 2], bottleneck),
      allocationOptions(officialConfig(name)),
    );
    const cells = cellDeclarations(allocation);
    t.is(
      cells.reduce((sum, { shape }) => sum + product(shape), 0),
      allocation.cellParameters,
    );
    for (const layer of allocation.warehouses.flatMap((warehouse) => warehouse.layers)) {
      const { parameters, states } = layerDeclarations(layer);
      t.is(
        parameters.reduce((sum, { shape }) => sum + product(shape), 0),
        layer.attentionParameters,
      );
      t.is(states.length, 2);
    }
  }
});

test('names and shapes are those of the official state dict', (t) => {
  const layers: LayerShape[] = [
    { name: 'layers.0', kind: 'linear', inChannels: 24, outChannels: 48, bias: true, sharingName: 'stage0_layer0_linear0' },
    { name: 'layers.1', kind: 'linear', inChannels: 48, outChannels: 24, sharingName: 'stage0_layer0_linear0' },
  ];
  const allocation = allocate(layers, { attentionNorm: 'layer' });
  t.deepEqual(
    cellDeclarations(allocation).map(({ name, shape, channelAxis }) => [name, shape, channelAxis]),
    [['warehouse_manager.weights.0', [4, 24, 24, 1], 2]],
  );
  const [first, second] = allocation.warehouses[0]?.layers.map(layerDeclarations) ?? [];
  t.deepEqual(
    first?.parameters.map(({ name, shape }) => [name, shape]),
    [
      ['layers.0.conv.bias', [48]],
      ['layers.0.conv.attention.fc1.weight', [16, 24]],
      ['layers.0.conv.attention.fc1.bias', [16]],
      ['layers.0.conv.attention.norm1.weight', [16]],
      ['layers.0.conv.attention.norm1.bias', [16]],
      ['layers.0.conv.attention.fc2.weight', [10, 16]],
      ['layers.0.conv.attention.fc2.bias', [10]],
    ],
  );
  t.deepEqual(first?.states, []);
  t.is(second?.parameters[0]?.name, 'layers.1.conv.attention.fc1.weight');
});

test('a nonlocal attention is declared as the authors do', (t) => {
  const layer = (name: string, kernel: number): LayerShape => ({
    name,
    kind: 'conv2d',
    inChannels: 16,
    outChannels: 16,
    kernel: [kernel, kernel],
    sharingName: 'stage0',
  });
  const allocation = allocate([layer('layers.0', 3), layer('layers.1', 3), layer('layers.2', 1)], { nonlocalBasisRatio: 0.5 });
  t.deepEqual(
    layerDeclarations(allocation.warehouses[0]?.layers[2] as never).parameters.map(({ name, shape }) => [name, shape]),
    [
      ['layers.2.attention.basis_bias', [20]],
      ['layers.2.attention.fc1.weight', [16, 16]],
      ['layers.2.attention.norm1.weight', [16]],
      ['layers.2.attention.norm1.bias', [16]],
      ['layers.2.attention.fc2.weight', [18, 16]],
      ['layers.2.attention.fc3.weight', [18, 16]],
    ],
  );
});

test('each layer’s cells have the deviation of the convolution that they form', (t) => {
  const allocation = allocate(residualLayers([2, 2, 2, 2], false), { sharingRange: 'layer_conv' });
  const declaration = cellDeclarations(allocation)[0];
  if (declaration?.initialization.kind !== 'cells') return t.fail('expected ranges of cells');
  const { ranges } = declaration.initialization;
  t.deepEqual(
    ranges.map(({ start, end }) => [start, end]),
    [
      [0, 9],
      [9, 18],
      [18, 27],
      [27, 36],
      [36, 54],
      [54, 56],
    ],
  );
  // The 2 cells of the shortcut are 128 output channels of a 1x1 convolution.
  t.is(ranges[5]?.deviation, Math.sqrt(2 / 128));

  const values = new Float32Array(product(declaration.shape));
  fillInitialValues(values, declaration, 7);
  for (const range of ranges) {
    const measured = deviation(values.subarray(range.start * 4096, range.end * 4096));
    t.true(Math.abs(measured / range.deviation - 1) < 0.05, `cells ${range.start}: ${measured} instead of ${range.deviation}`);
  }
});
