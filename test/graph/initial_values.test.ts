import test from 'ava';
import { fillInitialValues } from '../../lib/graph/initial_values.js';

function deviation(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

test('values depend on seed and name only', (t) => {
  const declaration = { name: 'a', shape: [3, 5, 7], initialization: { kind: 'normal', deviation: 2 } } as const;
  const fill = (seed: number, name = 'a') => {
    const values = new Float32Array(105);
    fillInitialValues(values, { ...declaration, name }, seed);
    return values;
  };
  t.deepEqual(fill(1), fill(1));
  t.notDeepEqual(fill(1), fill(2));
  t.notDeepEqual(fill(1), fill(1, 'b'));
  const uniform = new Float32Array(1000);
  fillInitialValues(uniform, { name: 'u', shape: [1000], initialization: { kind: 'uniform', bound: 0.5 } }, 3);
  t.true(uniform.every((value) => Math.abs(value) <= 0.5));
  t.true(Math.abs(deviation(uniform) - 0.5 / Math.sqrt(3)) < 0.02);
  const constant = new Float32Array(4).fill(9);
  fillInitialValues(constant, { name: 'z', shape: [4], initialization: { kind: 'zeros' } }, 0);
  t.deepEqual([...constant], [0, 0, 0, 0]);
  fillInitialValues(constant, { name: 'o', shape: [2, 2], initialization: { kind: 'ones' } }, 0);
  t.deepEqual([...constant], [1, 1, 1, 1]);
  t.throws(() => fillInitialValues(new Float32Array(104), declaration, 1), {
    message: /a: expected room for 105 values of \[3, 5, 7\], got 104/,
  });
});
