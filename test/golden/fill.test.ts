import test from 'ava';
import { fillFrom, imageBatch } from './fill.js';

test('filling agrees with the values that the golden README gives', (t) => {
  t.deepEqual([...fillFrom('b1/x0', -1, 1, 3)], [0.58190244, -0.9816831, 0.5904515].map(Math.fround));
});

test('an image is noise plus one colour for each sample and channel', (t) => {
  const images = imageBatch('case/x', 2, 4);
  const noise = fillFrom('case/x', -0.5, 0.5, 2 * 3 * 16);
  const colour = fillFrom('case/x/colour', -2, 2, 6);
  t.is(images[5 * 16 + 3], Math.fround(noise[5 * 16 + 3]! + colour[5]!));
});
