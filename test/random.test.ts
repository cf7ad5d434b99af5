import test from 'ava';
import fc from 'fast-check';
import { KernelWarehouseError } from '../lib/errors.js';
import { fillNormal, hashName, philox, RandomStream } from '../lib/random.js';

test('philox gives the known answers of Random123', (t) => {
  const block = new Uint32Array(4);
  philox(0, 0, 0, 0, 0, 0, block);
  t.deepEqual(block, Uint32Array.of(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  philox(-1, -1, -1, -1, -1, -1, block);
  t.deepEqual(block, Uint32Array.of(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, block);
  t.deepEqual(block, Uint32Array.of(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
});

test('the products inside philox are exact', (t) => {
  // One round has the whole product in it; ten rounds of a BigInt version must agree everywhere.
  const word = fc.nat(0xffffffff);
  const reference = (counter: number[], key: number[]): Uint32Array => {
    let [a, b, c, d] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
    let [k, l] = key.map(BigInt) as [bigint, bigint];
    for (let round = 0; round < 10; round++) {
      const first = a * 0xd2511f53n;
      const second = c * 0xcd9e8d57n;
      [a, b, c, d] = [(second >> 32n) ^ b ^ k, second & 0xffffffffn, (first >> 32n) ^ d ^ l, first & 0xffffffffn];
      k = (k + 0x9e3779b9n) & 0xffffffffn;
      l = (l + 0xbb67ae85n) & 0xffffffffn;
    }
    return Uint32Array.from([a, b, c, d], Number);
  };
  const block = new Uint32Array(4);
  const property = fc.property(word, word, word, word, word, word, (c0, c1, c2, c3, k0, k1) => {
    philox(c0, c1, c2, c3, k0, k1, block);
    t.deepEqual(block, reference([c0, c1, c2, c3], [k0, k1]));
  });
  fc.assert(property, { numRuns: 300 });
});

test('a stream begins with the block of its ids and goes on with the next', (t) => {
  const stream = new RandomStream(7, 'name', 1, 2, 3);
  const block = new Uint32Array(4);
  for (const counter of [0, 1]) {
    philox(counter, 1, 2, 3, 7, hashName('name'), block);
    t.deepEqual(
      Uint32Array.from({ length: 4 }, () => stream.uint32()),
      block,
    );
  }
});

test('hashName is FNV-1a', (t) => {
  t.is(hashName(''), 0x811c9dc5);
  t.is(hashName('foobar'), 0xbf9cf968);
});

test('integers are in range and evenly spread', (t) => {
  const stream = new RandomStream(1, 'integers');
  const counts = new Array<number>(7).fill(0);
  for (let i = 0; i < 70_000; i++) {
    const value = stream.integer(7);
    counts[value] = (counts[value] as number) + 1;
  }
  for (const count of counts) t.true(Math.abs(count - 10_000) < 500, String(counts));
  t.is(new RandomStream(1).integer(1), 0);
  t.throws(() => stream.integer(0), { instanceOf: KernelWarehouseError, code: 'ERR_KW_INVALID_ARGUMENT' });
});

test('shuffle gives each permutation about as often', (t) => {
  const stream = new RandomStream(5, 'shuffle');
  const counts = new Map<string, number>();
  for (let i = 0; i < 24_000; i++) {
    const permutation = stream.shuffle([0, 1, 2, 3]).join('');
    counts.set(permutation, (counts.get(permutation) ?? 0) + 1);
  }
  t.is(counts.size, 24);
  for (const count of counts.values()) t.true(Math.abs(count - 1000) < 200);
});

test('normal numbers have the moments of a normal distribution, and bulk filling gives the same sequence', (t) => {
  const values = new Float32Array(100_001);
  fillNormal(values, 2, 42, 'weights');
  const stream = new RandomStream(42, 'weights');
  for (let i = 0; i < 1000; i++) t.is(values[i], Math.fround(2 * stream.normal()));
  const moment = (power: number) => values.reduce((sum, value) => sum + (value / 2) ** power, 0) / values.length;
  t.true(Math.abs(moment(1)) < 0.02);
  t.true(Math.abs(moment(2) - 1) < 0.02);
  t.true(Math.abs(moment(4) - 3) < 0.15);
  t.not(values.at(-1), 0);
});

test('a seed is a whole number of 32 bits', (t) => {
  for (const seed of [-1, 2 ** 32, 0.5, Number.NaN]) {
    t.throws(() => new RandomStream(seed), { instanceOf: KernelWarehouseError, code: 'ERR_KW_INVALID_ARGUMENT' });
    t.throws(() => fillNormal(new Float32Array(1), 1, seed, 'x'), { instanceOf: KernelWarehouseError, code: 'ERR_KW_INVALID_ARGUMENT' });
  }
});
