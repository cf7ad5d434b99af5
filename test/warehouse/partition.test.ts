/** Properties of allocations of random layers, and what is refused. */
import test from 'ava';
import fc from 'fast-check';
import {
  type AllocationOptions,
  allocate,
  assignCells,
  cellsOfLayer,
  fuseSharingName,
  groupLayers,
  type LayerShape,
} from '../../lib/warehouse/index.js';

function convolution(name: string, outChannels: number, inChannels: number, kernel: number, sharing = 'stage0_layer0_conv0'): LayerShape {
  return { name, kind: 'conv2d', inChannels, outChannels, kernel: [kernel, kernel], sharingName: sharing };
}

const randomLayers = fc
  .array(
    fc.record({
      kind: fc.constantFrom('conv1d' as const, 'conv2d' as const, 'conv3d' as const),
      out: fc.integer({ min: 1, max: 6 }),
      in: fc.integer({ min: 1, max: 6 }),
      kernel: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 3, maxLength: 3 }),
      groups: fc.constantFrom(1, 2, 4),
      stage: fc.integer({ min: 0, max: 1 }),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((layers) =>
    layers.map((layer, index): LayerShape => {
      const dimensions = Number(layer.kind[4]);
      return {
        name: `layer${index}`,
        kind: layer.kind,
        inChannels: 4 * layer.in * layer.groups,
        outChannels: 4 * layer.out * layer.groups,
        kernel: layer.kernel.slice(0, dimensions),
        groups: layer.groups,
        // Layers of different dimensions cannot share.
        sharingName: `stage${layer.stage}_dimension${dimensions}_conv${index}`,
      };
    }),
  );

const randomOptions = fc.record({
  budget: fc.constantFrom(1, 2, 4),
  cellInRatio: fc.constantFrom(1, 0.5, 0.25),
  cellOutRatio: fc.constantFrom(1, 0.5, 0.25),
  sharingRange: fc.constantFrom<readonly string[] | string>(['conv'], [], 'conv'),
  nonlocalBasisRatio: fc.constant(1),
});

const product = (values: readonly number[]) => values.reduce((a, b) => a * b, 1);

test('mixtures tile every kernel, layers own all cells in order, and each mixture starts from a cell of its own', (t) => {
  fc.assert(
    fc.property(randomLayers, randomOptions, (layers, options) => {
      const allocation = allocate(layers, options);
      t.deepEqual(
        allocation.warehouses.flatMap((warehouse) => warehouse.layers.map(({ name }) => name)).toSorted(),
        layers.map(({ name }) => name).toSorted(),
      );
      allocation.warehouses.forEach(({ cell, m, n, layers: members, parameters }, index) => {
        t.is(
          m,
          members.reduce((sum, layer) => sum + layer.mixtures, 0),
        );
        t.is(n, m * options.budget);
        t.is(parameters, n * product(cell));
        let next = 0;
        const bound = new Set<number>();
        for (const layer of members) {
          t.is(layer.warehouse, index);
          t.is(layer.mixtures * product(cell), product(layer.weightShape));
          layer.weightShape.forEach((size, axis) => {
            t.is(size % (cell[axis] as number), 0);
          });
          t.is(layer.startCell, next);
          next = layer.endCell;
          t.is(layer.assignment.length, layer.mixtures);
          for (const cells of layer.assignment) {
            t.is(cells.length, 1);
            const [own] = cells as [number];
            t.true(own >= layer.startCell && own < layer.endCell);
            t.false(bound.has(own));
            bound.add(own);
          }
        }
        t.is(next, n);
        t.is(bound.size, m);
      });
    }),
    { numRuns: 200 },
  );
});

test('below a budget of 1 the one-to-one assignment binds each of a layer’s cells once and the other mixtures to the zero cell', (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 2, max: 12 }),
      fc.integer({ min: 0, max: 50 }),
      (mixtures, period, start) => {
        const cells = 1000;
        const own = assignCells(mixtures, cells, 1 / period, start)
          .flat()
          .filter((cell) => cell !== cells);
        t.deepEqual(
          own,
          Array.from({ length: cellsOfLayer(mixtures, 1 / period) }, (_, index) => start + index),
        );
      },
    ),
  );
});

test('the diagonal of every Q x Q mixtures owns the cells (b = 1/2, 1/4) and every b-th cell is bound above 1', (t) => {
  t.deepEqual(assignCells(8, 4, 0.5, 0), [[0], [4], [4], [1], [2], [4], [4], [3]]);
  t.deepEqual(assignCells(6, 9, 0.25, 3), [[3], [9], [9], [9], [9], [4]]);
  t.deepEqual(assignCells(3, 20, 4, 8), [[8], [12], [16]]);
});

test('sharing names fuse by prefix, from a list or from the characters of a string', (t) => {
  t.is(fuseSharingName('stage0_layer1_conv2', ['layer', 'conv']), 'stage0_layer_conv');
  t.is(fuseSharingName('stage0_layer1_conv2', 'layer_conv'), 'stage0_l_c');
  t.is(fuseSharingName('stage5_layer1_dwconv0', ['layer', 'pwconv']), 'stage5_layer_dwconv0');
  t.is(fuseSharingName('stage5_layer1_pwconv0', 'layer_pwconv'), 'stage5_l_p');
  t.is(fuseSharingName('classifier', 'layer'), 'classifier');
  t.is(fuseSharingName('stage0_layer1', []), 'stage0_layer1');
});

test('`reserved` numbers the warehouses without changing the order in which cells are given out', (t) => {
  const layers = [
    convolution('a', 4, 4, 1, 'stage1_conv'),
    convolution('b', 4, 4, 1, 'stage0_conv'),
    { ...convolution('c', 4, 4, 1, 'stage2_conv'), reserved: -1 },
    { ...convolution('d', 4, 4, 1, 'stage1_conv'), reserved: -0.5 },
  ];
  t.deepEqual(
    groupLayers(layers, []).map(({ name, layers: members }) => [name, members.map((layer) => layer.name)]),
    [
      ['stage2_conv', ['c']],
      ['stage1_conv', ['a', 'd']],
      ['stage0_conv', ['b']],
    ],
  );
});

test('nonlocal basis: sizes and parameter count', (t) => {
  const layers = [convolution('a', 16, 16, 3), convolution('b', 16, 16, 3), convolution('c', 16, 16, 1)];
  const { warehouses } = allocate(layers, { nonlocalBasisRatio: 0.5 });
  const attentions = warehouses[0]?.layers.map(({ attention }) => attention.nonlocal);
  t.deepEqual(attentions, [
    { local: 9, basis: 16, others: 10, start: 0 },
    { local: 9, basis: 16, others: 10, start: 9 },
    { local: 1, basis: 16, others: 18, start: 18 },
  ]);
  // 16 hidden units: fc1, norm, fc2 of 9 rows, the shared matrix, the bias of 9 rows of 20.
  t.is(warehouses[0]?.layers[0]?.attentionParameters, 256 + 32 + 16 * 9 * 26 + 16 * 10 + 180);
});

test('without spatial partition the cell is the kernel', (t) => {
  const { warehouses } = allocate([convolution('a', 8, 8, 3), convolution('b', 16, 8, 3)], { spatialPartition: false, budget: 4 });
  t.deepEqual(warehouses[0]?.cell, [8, 8, 3, 3]);
  t.is(warehouses[0]?.m, 3);
  t.is(warehouses[0]?.n, 12);
});

const pair = [convolution('layer1.conv1', 64, 64, 3), convolution('layer1.conv2', 128, 64, 1)];
const refusals: readonly [title: string, layers: readonly LayerShape[], options: AllocationOptions, message: RegExp][] = [
  [
    'a ratio that cuts channels unevenly',
    pair,
    { cellInRatio: 1 / 3 },
    /cellInRatio 0\.33.*21 input channels.*64.*layer1\.conv1 64.*1\/4 \(16.*1\/2 \(32/,
  ],
  ['a ratio that truncates to a non-divisor', pair, { cellOutRatio: 0.3 }, /cellOutRatio 0\.3 .*19 output channels/],
  ['a ratio above 1', pair, { cellInRatio: 2 }, /cellInRatio: expected a number above 0, at most 1, got 2/],
  ['a budget between whole numbers', pair, { budget: 1.5 }, /warehouse stage0_layer0_conv0: budget 1\.5 .*nearest legal budgets: 1, 2/],
  ['a budget that is no 1/Q', pair, { budget: 0.75 }, /budget 0\.75 gives 8 cells to 11 mixtures, .* 9 \+ 2 mixtures needs 11/],
  [
    'a budget that layers do not add up to',
    [convolution('a', 8, 8, 1), convolution('b', 8, 8, 1)],
    { budget: 0.5 },
    /needs 2; nearest legal budgets: 1 \(or cut finer/,
  ],
  ['a negative budget', pair, { budget: -1 }, /budget: expected a positive number, got -1/],
  [
    'a list of the wrong length',
    pair,
    { reduction: [1, 1, 1] },
    /reduction: expected one value, or 1 for the warehouses stage0_layer0_conv0; got 3/,
  ],
  ['different kernels without spatial partition', pair, { spatialPartition: false }, /layer1\.conv1 has 3x3 and layer1\.conv2 1x1/],
  ['a nonlocal basis without other layers', [convolution('a', 8, 8, 3)], { nonlocalBasisRatio: 0.5 }, /layer a: nonlocalBasisRatio 0\.5/],
  ['an empty sharing prefix', pair, { sharingRange: [''] }, /sharingRange/],
  ['equal names', [convolution('a', 8, 8, 3), convolution('a', 8, 8, 3)], {}, /layer a: expected unique names/],
  [
    'groups that do not divide',
    [{ ...convolution('a', 8, 8, 3), groups: 3 }],
    {},
    /layer a: groups: expected a divisor of 8 input and 8 output/,
  ],
  [
    'a kernel of the wrong dimension',
    [{ ...convolution('a', 8, 8, 3), kernel: [3] }],
    {},
    /kernel: expected 2 positive integers for conv2d/,
  ],
  ['a kernel of a linear layer', [{ ...convolution('a', 8, 8, 1), kind: 'linear' }], {}, /a linear layer has none/],
  ['fractional channels', [convolution('a', 8.5, 8, 1)], {}, /outChannels: expected a positive integer, got 8\.5/],
  [
    'layers of different dimensions',
    [convolution('a', 8, 8, 1), { name: 'b', kind: 'linear', inChannels: 8, outChannels: 8, sharingName: 'stage0_layer0_conv0' }],
    {},
    /layers of 2 and 1 spatial dimensions cannot share cells \(a, b\)/,
  ],
];

for (const [title, layers, options, message] of refusals) {
  test(`refuses ${title}`, (t) => {
    const error = t.throws(() => allocate(layers, options));
    t.is((error as { code?: string }).code, 'ERR_KW_ALLOCATION');
    t.regex(error.message, message);
  });
}

test('the budgets that a refusal proposes are legal', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 4 }),
      fc.double({ min: 0.05, max: 3, noNaN: true }),
      (sizes, budget) => {
        const layers = sizes.map((size, index) => convolution(`layer${index}`, 8 * size, 8, 1)).concat(convolution('unit', 8, 8, 1));
        try {
          allocate(layers, { budget });
        } catch (error) {
          const proposals = (error as Error).message.split('nearest legal budgets: ')[1]?.replace(/ \(.*/, '').split(', ') ?? [];
          t.true(proposals.length > 0);
          for (const proposal of proposals) {
            const [part, whole = 1] = proposal.split('/').map(Number) as [number, number?];
            t.notThrows(() => allocate(layers, { budget: part / whole }));
          }
        }
      },
    ),
  );
});
