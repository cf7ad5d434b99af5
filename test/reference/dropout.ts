/** Dropout by counter-based random numbers: Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). */
import type { Arguments } from './operation.js';
import { size, type Tensor, tensorOf } from './tensor.js';

const kMask = 0xffffffffn;

/** Ten rounds on the counter `[4]` under the key `[2]`, all unsigned 32-bit. */
export function philox(counter: readonly bigint[], key: readonly bigint[]): bigint[] {
  let [c0, c1, c2, c3] = counter as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const product0 = 0xd2511f53n * c0;
    const product1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(product1 >> 32n) ^ c1 ^ k0, product1 & kMask, (product0 >> 32n) ^ c3 ^ k1, product0 & kMask];
    k0 = (k0 + 0x9e3779b9n) & kMask;
    k1 = (k1 + 0xbb67ae85n) & kMask;
  }
  return [c0, c1, c2, c3];
}

export function dropout(args: Arguments): Tensor[] {
  const x = args.input(0);
  const [seed, step] = [BigInt.asUintN(32, BigInt(args.scalar(1))), BigInt.asUintN(32, BigInt(args.scalar(2)))];
  const stream = BigInt.asUintN(32, BigInt(args.number('stream')));
  const probability = args.number('probability');
  const perDraw = args.boolean('perSample') ? x.data.length / size(x, 0) : 1;
  const y = tensorOf(x.shape, new Float64Array(x.data.length));
  let lanes: bigint[] = [];
  for (let draw = 0; draw < x.data.length / perDraw; draw++) {
    if (draw % 4 === 0) lanes = philox([BigInt(draw / 4) & kMask, stream, step, 0n], [seed, 0x4b57n]);
    const uniform = Number(lanes[draw % 4]) * 2 ** -32;
    const factor = uniform < probability ? 0 : 1 / (1 - probability);
    for (let i = draw * perDraw; i < (draw + 1) * perDraw; i++) y.data[i] = x.data[i]! * factor;
  }
  return [y];
}
