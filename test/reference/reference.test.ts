/** Checks of what the reference cannot borrow its correctness from elsewhere. */
import test from 'ava';
import { fillFrom } from '../golden/fill.js';
import { erf } from './activation.js';
import { philox } from './dropout.js';
import { gemm } from './gemm.js';

test('philox agrees with the known answers of its authors', (t) => {
  const hex = (words: bigint[]) => words.map((word) => word.toString(16).padStart(8, '0')).join(' ');
  const ones = 0xffffffffn;
  t.is(hex(philox([0n, 0n, 0n, 0n], [0n, 0n])), '6627e8d5 e169c58d bc57ac4c 9b00dbd8');
  t.is(hex(philox([ones, ones, ones, ones], [ones, ones])), '408f276d 41c83b0e a20bc7c6 6d5451fd');
});

test('erf agrees with tabulated values', (t) => {
  for (const [x, expected] of [
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [3.5, 0.9999992569016276],
    [7, 1],
  ] as const) {
    t.true(Math.abs(erf(x) - expected) < 1e-15, `erf(${x}) = ${erf(x)}`);
    t.is(erf(-x), -erf(x));
  }
  t.is(erf(0), 0);
});

test('gemm agrees with the definition across its block sizes, for any strides', (t) => {
  for (const [m, n, k] of [
    [1, 1, 1],
    [5, 3, 7],
    [65, 257, 259],
    [70, 9, 513],
  ] as const) {
    const [a, b] = [Float64Array.from(fillFrom('a', -1, 1, m * k)), Float64Array.from(fillFrom('b', -1, 1, k * n))];
    const c = new Float64Array(m * n + 1).fill(0.5);
    gemm(
      m,
      n,
      k,
      { data: a, offset: 0, row: 1, column: m },
      { data: b, offset: 0, row: n, column: 1 },
      { data: c, offset: 1, row: n, column: 1 },
    );
    let worst = 0;
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0.5;
        for (let l = 0; l < k; l++) sum += a[l * m + i]! * b[l * n + j]!;
        worst = Math.max(worst, Math.abs(sum - c[1 + i * n + j]!));
      }
    }
    t.true(worst < 1e-12, `${m}x${n}x${k}: off by ${worst}`);
    t.is(c[0], 0.5);
  }
});
