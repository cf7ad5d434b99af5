/** The paper's ablations as options of an allocation: initial assignments, sharing ranges, no partition, ODConv's attentions. */
import test from 'ava';
import fc from 'fast-check';
import {
  type AllocationOptions,
  type AttentionInitialization,
  allocate,
  assignCells,
  cellsOfLayer,
  groupLayers,
  type LayerShape,
  layerDeclarations,
} from '../../lib/warehouse/index.js';
import { residualLayers } from './networks.js';

function convolution(name: string, outChannels: number, inChannels: number, kernel: number): LayerShape {
  return { name, kind: 'conv2d', inChannels, outChannels, kernel: [kernel, kernel], sharingName: 'stage0' };
}

const pair = [convolution('a', 8, 8, 3), convolution('b', 24, 8, 1)];
const layersOf = (options: AllocationOptions) => allocate(pair, options).warehouses.flatMap(({ layers }) => layers);

test('initial assignments: all cells to each mixture, none, several to one, one to several', (t) => {
  t.deepEqual(assignCells(2, 3, 1, 0, 'allToOne'), [
    [0, 1, 2],
    [0, 1, 2],
  ]);
  t.deepEqual(assignCells(2, 3, 1, 0, 'none'), []);
  t.deepEqual(assignCells(2, 16, 4, 8, 'severalToOne'), [
    [8, 9, 10, 11],
    [12, 13, 14, 15],
  ]);
  t.deepEqual(assignCells(6, 9, 0.5, 4, 'oneToSeveral'), [[4], [4], [5], [5], [6], [6]]);
});

test('whatever the initialization, layers own the same cells, all of them; what it binds is theirs', (t) => {
  const initializations = fc.constantFrom<AttentionInitialization>('oneToOne', 'allToOne', 'none', 'severalToOne', 'oneToSeveral');
  const legal = (initialization: AttentionInitialization, budget: number) =>
    initialization === 'severalToOne' ? budget > 1 : initialization !== 'oneToSeveral' || budget < 1;
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
      fc.constantFrom(1 / 4, 1 / 2, 1, 2, 4),
      initializations,
      (sizes, budget, attentionInitialization) => {
        fc.pre(legal(attentionInitialization, budget));
        // 16 mixtures of each size-one kernel, so that every budget tiles every layer.
        const layers = sizes.map((size, index) => convolution(`layer${index}`, 16 * size, 16, 1)).concat(convolution('unit', 16, 16, 1));
        const ratios = { cellInRatio: 1 / 4, cellOutRatio: 1 / 4 };
        const [warehouse] = allocate(layers, { budget, ...ratios, attentionInitialization }).warehouses;
        let next = 0;
        const bound = new Set<number>();
        for (const { startCell, endCell, assignment, mixtures } of warehouse?.layers ?? []) {
          t.is(startCell, next);
          t.is(endCell - startCell, cellsOfLayer(mixtures, budget));
          next = endCell;
          if (attentionInitialization === 'allToOne' || attentionInitialization === 'none') continue;
          for (const cell of assignment.flat()) {
            if (cell !== warehouse?.n) t.true(cell >= startCell && cell < endCell);
            bound.add(cell);
          }
        }
        t.is(next, warehouse?.n as number);
        if (attentionInitialization === 'severalToOne' || attentionInitialization === 'oneToSeveral') t.is(bound.size, next);
      },
    ),
    { numRuns: 200 },
  );
});

test('each warehouse can have an initialization of its own', (t) => {
  const layers = [pair[0] as LayerShape, { ...(pair[1] as LayerShape), sharingName: 'stage1' }];
  const { warehouses } = allocate(layers, { budget: [2, 1], attentionInitialization: ['severalToOne', 'none'] });
  t.deepEqual(
    warehouses.map(({ layers: [layer] }) => layer?.assignment.slice(0, 2)),
    [
      [
        [0, 1],
        [2, 3],
      ],
      [],
    ],
  );
});

test('without cell sharing a mixture sees only its own b cells, and layers own the warehouse as ever', (t) => {
  for (const budget of [1, 2]) {
    const shared = layersOf({ budget });
    const own = layersOf({ budget, cellSharing: false });
    t.deepEqual(
      own.map(({ startCell, endCell, mixtures }) => [startCell, endCell, mixtures]),
      shared.map(({ startCell, endCell, mixtures }) => [startCell, endCell, mixtures]),
    );
    for (const { attention, assignment, mixtures, attentionParameters } of own) {
      t.is(attention.cells, budget);
      t.deepEqual(assignment, new Array(mixtures).fill([0]));
      t.is(attentionParameters, 8 * 16 + 32 + 17 * mixtures * (budget + 1));
    }
  }
  const [layer] = layersOf({ budget: 2, cellSharing: false, attentionInitialization: 'allToOne' });
  t.deepEqual(layer?.assignment[3], [0, 1]);
  t.deepEqual(layersOf({ cellSharing: false, attentionInitialization: 'none' })[0]?.assignment, []);
});

test('with equal dimensions only, kernels of one shape share, in warehouses named after it', (t) => {
  const layers = [...pair, convolution('c', 8, 8, 3), { ...convolution('d', 8, 8, 3), sharingName: 'stage1' }];
  t.deepEqual(
    groupLayers(layers, [], true).map(({ name, layers: members }) => [name, members.map((layer) => layer.name)]),
    [
      ['stage0_8x8x3x3', ['a', 'c']],
      ['stage0_24x8x1x1', ['b']],
      ['stage1_8x8x3x3', ['d']],
    ],
  );
  t.is(allocate(layers, { sameDimensions: true }).warehouses.length, 3);
});

test('the counts of tables 5 and 6 that are not unique, in both ways of giving them', (t) => {
  const layers = residualLayers([2, 2, 2, 2], false);
  const count = (options: AllocationOptions) => allocate(layers, options).parameters + 532_008;
  const stage = { sharingRange: ['layer', 'conv'] };
  t.is(count({ cellSharing: false }), 11_782_094);
  t.is(count({ cellSharing: false, ...stage }), 11_783_114);
  t.is(count({ spatialPartition: false }), 11_776_974);
  t.is(count({ spatialPartition: false, sameDimensions: true, ...stage }), 11_777_580);
});

test("ODConv's attentions are counted and declared after the cells' logits", (t) => {
  const [spatial, pointwise] = layersOf({ odconvAttentions: true });
  t.deepEqual(spatial?.attention.odconv, { channel: 8, filter: 8, spatial: 9, temperature: 1 });
  t.deepEqual(pointwise?.attention.odconv, { channel: 8, filter: 24, spatial: 0, temperature: 1 });
  const plain = layersOf({});
  t.is((spatial?.attentionParameters as number) - (plain[0]?.attentionParameters as number), 17 * (8 + 8 + 9));
  t.is((pointwise?.attentionParameters as number) - (plain[1]?.attentionParameters as number), 17 * (8 + 24));
  for (const layer of [spatial, pointwise]) {
    const { parameters } = layerDeclarations(layer as never);
    t.is(
      parameters.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0),
      layer?.attentionParameters as number,
    );
  }
  t.deepEqual(
    layerDeclarations(spatial as never)
      .parameters.slice(5)
      .map(({ name, shape }) => [name, shape]),
    [
      ['a.attention.channel_fc.weight', [8, 16]],
      ['a.attention.channel_fc.bias', [8]],
      ['a.attention.filter_fc.weight', [8, 16]],
      ['a.attention.filter_fc.bias', [8]],
      ['a.attention.spatial_fc.weight', [9, 16]],
      ['a.attention.spatial_fc.bias', [9]],
    ],
  );
  t.is(layersOf({ odconvAttentions: true, odconvTemperature: 4.5 })[0]?.attention.odconv?.temperature, 4.5);
});

const refusals: readonly [title: string, options: AllocationOptions, message: RegExp][] = [
  ['an unknown function', { attentionFunction: 'relu' as never }, /attentionFunction: expected contrasting, softmax, .*; got relu/],
  [
    'an unknown initialization',
    { attentionInitialization: 'one_to_one' as never },
    /attentionInitialization: expected oneToOne, .*got one_to_one/,
  ],
  ['an unknown norm', { attentionNorm: 'group' as never }, /attentionNorm: expected batch, layer; got group/],
  [
    'several cells of one',
    { attentionInitialization: 'severalToOne' },
    /warehouse stage0: attentionInitialization severalToOne needs a budget of 2 or more.* got 1; use oneToOne here/,
  ],
  [
    'several cells of half a one',
    { attentionInitialization: 'severalToOne', budget: 1 / 2, cellInRatio: 1 / 2, cellOutRatio: 1 / 2 },
    /got 0\.5; use oneToOne or oneToSeveral here/,
  ],
  [
    'one cell for several where there are enough',
    { attentionInitialization: 'oneToSeveral', budget: 2 },
    /oneToSeveral needs a budget below 1, got 2; use oneToOne or severalToOne here/,
  ],
  [
    'one cell for several mixtures that are not so many',
    { attentionInitialization: 'oneToSeveral', budget: 1 / 2 },
    /binds each cell to 2 mixtures of one layer, but the layers have 9, 3; cut finer cells .*, or use oneToOne here/,
  ],
  [
    'cells of their own for mixtures that are more',
    { cellSharing: false, budget: 1 / 2, cellOutRatio: 1 / 2 },
    /warehouse stage0: without cell sharing every mixture needs a cell of its own, but the budget is 0\.5; give a budget of 1 or more/,
  ],
  [
    'a nonlocal basis without cell sharing',
    { cellSharing: false, nonlocalBasisRatio: 0.5 },
    /layer a: nonlocalBasisRatio 0\.5 has no cells of other layers/,
  ],
  [
    'a temperature of absent attentions',
    { odconvTemperature: 2 },
    /odconvTemperature: there are no such attentions; set odconvAttentions too/,
  ],
  ['a temperature of 0', { odconvAttentions: true, odconvTemperature: 0 }, /odconvTemperature: expected a positive number, got 0/],
];

for (const [title, options, message] of refusals) {
  test(`refuses ${title}`, (t) => {
    t.throws(() => allocate(pair, options), { code: 'ERR_KW_ALLOCATION', message });
  });
}
