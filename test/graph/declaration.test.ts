/** PyTorch's order to memory order and back, for tensors of every rank that layers store. */
import test from 'ava';
import { physicalShape, toLogical, toPhysical } from '../../lib/graph/declaration.js';
import { indices, positionOf } from '../layers/naive_convolution.js';

test('the channel axis moves to the end, and back', (t) => {
  const tensors: readonly [shape: readonly number[], channelAxis: number, physical: readonly number[]][] = [
    [[5, 3, 4], 1, [5, 4, 3]], // conv1d weight
    [[5, 3, 2, 4], 1, [5, 2, 4, 3]], // conv2d weight
    [[5, 3, 2, 4, 6], 1, [5, 2, 4, 6, 3]], // conv3d weight
    [[7, 5, 3, 4], 2, [7, 5, 4, 3]], // cells of conv1d
    [[7, 5, 3, 2, 4], 2, [7, 5, 2, 4, 3]], // cells of conv2d
    [[2, 5, 3, 2, 4, 3], 2, [2, 5, 2, 4, 3, 3]], // cells of conv3d
    [[5, 1, 3, 3, 3], 1, [5, 3, 3, 3, 1]], // depth-wise
  ];
  for (const [shape, channelAxis, physical] of tensors) {
    t.deepEqual(physicalShape({ shape, channelAxis }), physical);
    const logical = Float64Array.from(indices(shape), (_, position) => position);
    const stored = new Float64Array(logical.length);
    toPhysical(shape, channelAxis, logical, stored);
    for (const index of indices(shape)) {
      const moved = [...index.slice(0, channelAxis), ...index.slice(channelAxis + 1), index[channelAxis]!];
      if (stored[positionOf(physical, moved)] !== positionOf(shape, index)) t.fail(`[${shape}]: element [${index}] is misplaced`);
    }
    const back = new Float64Array(logical.length);
    toLogical(shape, channelAxis, stored, back);
    t.deepEqual(back, logical);
  }
});
