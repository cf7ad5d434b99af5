/** SE, CBAM and ECA beyond what golden cases show: widths, initial values, refusals. */
import test from 'ava';
import { Graph } from '../../lib/graph/graph.js';
import { cbam } from '../../lib/layers/cbam.js';
import { eca, ecaKernel } from '../../lib/layers/eca.js';
import { newContext, type Recalibration } from '../../lib/layers/layer.js';
import { squeezeExcitation } from '../../lib/layers/squeeze_excitation.js';

function declared(recalibration: Recalibration, channels: number): Graph {
  const graph = new Graph();
  const y = graph.input('y', [2, 5, 4, channels]);
  const { shape } = recalibration(newContext(graph, true), y, 'block');
  if (shape.join() !== y.shape.join()) throw new Error(`the shape became [${shape}]`);
  return graph;
}

test("ECA's kernel grows with the logarithm of the channels, and is odd", (t) => {
  t.deepEqual([1, 16, 32, 64, 128, 256, 512, 2048].map(ecaKernel), [1, 3, 3, 3, 5, 5, 5, 7]);
  t.deepEqual(declared(eca(ecaKernel), 128).parameters.get('block.conv.weight')?.shape, [1, 1, 5]);
  t.deepEqual(
    declared(
      eca(() => 9),
      128,
    ).parameters.get('block.conv.weight')?.shape,
    [1, 1, 9],
  );
});

test('SE has biases only where they are asked for', (t) => {
  const names = (bias: boolean) => [...declared(squeezeExcitation({ reduction: 1 / 16, bias }), 64).parameters.keys()];
  t.deepEqual(names(false), ['block.fc.0.weight', 'block.fc.2.weight']);
  t.deepEqual(names(true), ['block.fc.0.weight', 'block.fc.0.bias', 'block.fc.2.weight', 'block.fc.2.bias']);
});

test("CBAM's spatial gate starts at a half, and its norm averages slowly", (t) => {
  const graph = declared(cbam({ reduction: 1 / 16 }), 64);
  const initial = (name: string) => graph.parameters.get(`block.${name}`)?.initialization.kind;
  t.is(initial('SpatialGate.spatial.bn.weight'), 'zeros');
  t.is(initial('ChannelGate.mlp.1.bias'), 'zeros');
  t.is(initial('ChannelGate.mlp.1.weight'), 'uniform');
  t.is(initial('SpatialGate.spatial.conv.weight'), 'normal');
  const updates = graph.nodes.filter(({ op }) => op.name === 'update_running_statistics');
  t.deepEqual(
    updates.map(({ attributes }) => attributes.momentum),
    [0.01],
  );
});

test('too few channels for a hidden value are refused', (t) => {
  for (const recalibration of [squeezeExcitation({ reduction: 1 / 16, bias: false }), cbam({ reduction: 1 / 16 })]) {
    t.throws(() => declared(recalibration, 8), {
      code: 'ERR_KW_UNSUPPORTED',
      message: /block.*: a reduction of 0.0625 leaves no hidden value for 8 channels; expected at least 16 channels/,
    });
  }
});
