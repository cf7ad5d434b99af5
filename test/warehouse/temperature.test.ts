import test from 'ava';
import { softmaxTemperatureAt, temperatureAt } from '../../lib/warehouse/index.js';

test('the temperature falls linearly from the first iteration to the end of its epochs', (t) => {
  const schedule = { epochs: 10, iterationsPerEpoch: 50 };
  t.is(temperatureAt(1, schedule), 499 / 500);
  t.is(temperatureAt(250, schedule), 0.5);
  t.is(temperatureAt(500, schedule), 0);
  t.is(temperatureAt(5000, schedule), 0);
  t.is(temperatureAt(1, { epochs: 0, iterationsPerEpoch: 50 }), 0);
  t.is(temperatureAt(250, { ...schedule, initial: 0.5 }), 0.25);
  t.throws(() => temperatureAt(0, schedule), { message: /iteration: expected an integer from 1, got 0/ });
  t.throws(() => temperatureAt(1, { epochs: -1, iterationsPerEpoch: 5 }), { message: /epochs/ });
  t.throws(() => temperatureAt(1, { epochs: 1, iterationsPerEpoch: 0.5 }), { message: /iterationsPerEpoch/ });
});

test('the softmax temperature falls from 30 to 1 in the same way', (t) => {
  const schedule = { epochs: 10, iterationsPerEpoch: 50 };
  t.is(softmaxTemperatureAt(1, schedule), 1 + 29 * (499 / 500));
  t.is(softmaxTemperatureAt(250, schedule), 15.5);
  t.is(softmaxTemperatureAt(500, schedule), 1);
  t.is(softmaxTemperatureAt(5000, schedule), 1);
  t.is(softmaxTemperatureAt(1, { epochs: 0, iterationsPerEpoch: 50 }), 1);
  t.throws(() => softmaxTemperatureAt(0, schedule), { message: /iteration: expected an integer from 1, got 0/ });
});
