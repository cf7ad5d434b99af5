import test from 'ava';
import { operations } from '../../lib/graph/ops/index.js';
import { referenceOperations } from '../reference/operations.js';
import { samples } from './samples.js';

test('every op has a reference and a sample', (t) => {
  const names = [...operations.keys()].filter((name) => name !== 'leaf').sort();
  t.deepEqual(Object.keys(referenceOperations).sort(), names);
  t.deepEqual(Object.keys(samples).sort(), names);
});
