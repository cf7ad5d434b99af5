/** Shape rules of the convolutions: what does not fit is refused, and says what was expected. */
import test from 'ava';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { nodeCost } from '../../lib/graph/operation.js';
import { conv2d } from '../../lib/graph/ops/conv2d.js';
import { conv3d } from '../../lib/graph/ops/conv3d.js';
import type { ConvolutionOptions } from '../../lib/graph/ops/convolution.js';
import { samplewiseConv2d } from '../../lib/graph/ops/samplewise_conv2d.js';
import { samplewiseConv3d } from '../../lib/graph/ops/samplewise_conv3d.js';

type Operation = (x: Value, weight: Value, bias?: Value, options?: ConvolutionOptions) => Value;

function build(op: Operation, x: readonly number[], weight: readonly number[], options: ConvolutionOptions = {}, bias?: number): Value {
  const graph = new Graph();
  return op(graph.input('x', x), graph.input('weight', weight), bias === undefined ? undefined : graph.input('bias', [bias]), options);
}

test('outputs over two and three dimensions, with one weight or one for each sample', (t) => {
  t.deepEqual(build(conv2d, [2, 5, 6, 4], [8, 3, 2, 2], { groups: 2, stride: [2, 1] }).shape, [2, 2, 5, 8]);
  t.deepEqual(build(samplewiseConv2d, [2, 5, 6, 4], [2, 8, 3, 2, 4], { padding: 1 }).shape, [2, 5, 7, 8]);
  t.deepEqual(build(conv3d, [2, 3, 5, 6, 4], [8, 1, 3, 2, 4], { padding: [0, 1, 2], dilation: [1, 1, 3] }).shape, [2, 3, 5, 7, 8]);
  t.deepEqual(build(samplewiseConv3d, [2, 3, 5, 6, 4], [2, 8, 1, 3, 2, 1], { groups: 4, stride: 2 }, 8).shape, [2, 2, 2, 3, 8]);
});

test('a multiply-add counts as two', (t) => {
  t.is(nodeCost(build(conv3d, [2, 3, 4, 5, 6], [8, 1, 2, 3, 3], { groups: 2 }).node).flops, 2 * (2 * 3 * 3 * 3) * 8 * (1 * 2 * 3) * 3);
});

test('inputs that do not fit are refused', (t) => {
  const refused: readonly [() => Value, RegExp][] = [
    [() => build(conv3d, [2, 5, 6, 4], [8, 1, 3, 2, 4]), /\[conv3d\] expected x of shape \[N, D, H, W, C\] but received \[2, 5, 6, 4\]/],
    [() => build(conv3d, [2, 3, 5, 6, 4], [8, 3, 2, 4]), /\[conv3d\] expected weight of shape \[O, kd, kh, kw, C\/groups\]/],
    [() => build(conv2d, [2, 3, 5, 6, 4], [8, 3, 2, 4]), /\[conv2d\] expected x of shape \[N, H, W, C\]/],
    [() => build(samplewiseConv3d, [2, 3, 5, 6, 4], [8, 1, 3, 2, 4]), /expected weight of shape \[N, O, kd, kh, kw, C\/groups\]/],
    [() => build(samplewiseConv2d, [2, 5, 6, 4], [3, 8, 3, 2, 4]), /expected a weight for each of 2 samples but received 3/],
    [() => build(conv3d, [2, 3, 5, 6, 4], [8, 1, 3, 2, 4], { groups: 3 }), /4 input and 8 output channels do not divide into 3 groups/],
    [
      () => build(conv3d, [2, 3, 5, 6, 4], [8, 1, 3, 2, 4], { groups: 2 }),
      /expected a weight with 2 input channels per group but received 4/,
    ],
    [() => build(conv3d, [2, 3, 5, 6, 4], [8, 4, 1, 1, 4]), /a kernel of 4x1x1 \(dilation 1x1x1\) does not fit an input of 3x5x6/],
    [() => build(conv3d, [2, 3, 5, 6, 4], [8, 1, 1, 1, 4], {}, 4), /expected bias of shape \[8\] but received \[4\]/],
    [
      () => build(conv3d, [2, 3, 5, 6, 4], [8, 1, 1, 1, 4], { stride: [1, 2] }),
      /expected stride to be a number or a list of 3 but received \[1, 2\]/,
    ],
  ];
  for (const [body, message] of refused) t.throws(body, { code: 'ERR_KW_SHAPE', message });
});
