import test from 'ava';
import { boundOf, type Figure, judge } from './tolerance.js';

const gradient: Figure = { name: 'g', kind: 'gradient', expected: [3, 4], actual: [3, 4.001] };

test('bounds are those of the golden README', (t) => {
  t.is(boundOf('float64', 'network', 'gradient', 0.5), 1e-7);
  t.is(boundOf('float32', 'layer', 'value'), 1e-4);
  t.is(boundOf('float32', 'layer', 'gradient'), 1e-3);
  t.is(boundOf('float32', 'network', 'value', 1e-6), 1e-4);
  t.is(boundOf('float32', 'network', 'value', 1e-3), 1e-2);
  t.is(boundOf('float32', 'network', 'gradient', 1e-3), 2e-2);
  t.is(boundOf('float32', 'network', 'gradient', 5e-3), 5e-2);
  t.is(boundOf('float32', 'network', 'gradient', 1.1e-2), undefined);
});

test('a tensor is judged by the l2 of its difference', (t) => {
  t.is(judge(gradient, 'float32', 'layer').verdict, 'passed');
  t.is(judge(gradient, 'float64', 'layer').verdict, 'failed');
  t.is(judge({ ...gradient, actual: [3, Number.NaN] }, 'float32', 'layer').verdict, 'failed');
  t.is(judge({ ...gradient, actual: [3, 4, 0] }, 'float32', 'layer').verdict, 'failed');
});

test('each figure of a digest can fail alone', (t) => {
  const digest = { shape: [2, 2], sum: 10, l2: Math.sqrt(30), at: { 0: 1, 3: 4 } };
  const verdict = (actual: number[]) => judge({ name: 'g', kind: 'gradient', expected: digest, actual }, 'float64', 'network').verdict;
  t.is(verdict([1, 2, 3, 4]), 'passed');
  t.is(verdict([1, 3, 2, 4]), 'passed', 'elements 1 and 2 are not in the digest');
  t.is(verdict([4, 2, 3, 1]), 'failed', 'elements 0 and 3 are');
  t.is(verdict([1, -2, 3, 4]), 'failed', 'the sum changed');
  t.is(verdict([1, 2.5, 2.5, 4]), 'failed', 'the l2 changed');
  t.is(verdict([1, 2, 3]), 'failed');
});

test('a gradient that is zero but for rounding is judged by its absolute size', (t) => {
  const zero: Figure = { name: 'g', kind: 'gradient', expected: [1e-12, 0], actual: [0, 3e-12], largestGradient: 1 };
  t.like(judge(zero, 'float64', 'network'), { verdict: 'passed', zeroGradient: true });
  t.is(judge({ ...zero, actual: [1e-6, 0] }, 'float64', 'network').verdict, 'failed');
  t.is(judge({ ...zero, actual: [1e-6, 0], float32Deviation: 1 }, 'float32', 'network').verdict, 'passed');
  t.is(judge({ ...zero, actual: [0.002, 0] }, 'float32', 'network').verdict, 'failed');
});

test('a figure that float32 cannot hold is counted and not judged', (t) => {
  t.is(judge({ ...gradient, float32Deviation: 0.02, actual: [9, 9] }, 'float32', 'network').verdict, 'not judged');
  t.is(judge({ ...gradient, float32Deviation: 0.02, actual: [9, 9] }, 'float64', 'network').verdict, 'failed');
});
