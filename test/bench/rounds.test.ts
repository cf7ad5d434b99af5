/** Interleaved rounds, with contestants whose times are known. */
import anyTest from 'ava';
import { runRounds } from '../../lib/bench/rounds.js';
import { median, spread } from '../../lib/bench/spread.js';
import { fake, useFakeClock } from './fake.js';

const test = anyTest.serial;
useFakeClock(anyTest);

test('every contestant runs in every round, in turn, after a round that does not count', async (t) => {
  const turns: string[] = [];
  const a = fake({ name: 'a', times: [900, 500, 10] });
  const b = fake({ name: 'b', times: [20] });
  const [first, second] = await runRounds([a, b], {
    rounds: 3,
    secondsPerRound: 0.001,
    onTurn: ({ name }, round) => turns.push(`${round}${name}`),
  });
  t.deepEqual(turns, ['0a', '0b', '1a', '1b', '2a', '2b', '3a', '3b']);
  // The warm-up takes two runs, however long they are: the first converts the weights.
  t.deepEqual([a.runs(), b.runs()], [5, 5]);
  t.deepEqual(first?.seconds, [0.01, 0.01, 0.01]);
  t.deepEqual(second?.seconds, [0.02, 0.02, 0.02]);
});

test('a short run is repeated until the time of the round is over, and its mean counts', async (t) => {
  const a = fake({ name: 'a', times: [100, 100, 100, 10, 30, 20, 40] }); // 100, 100 and 100 in the warm-up
  const [timing] = await runRounds([a], { rounds: 2, secondsPerRound: 0.21 / 2, steps: true });
  t.is(timing?.contestant, a);
  t.is(timing?.seconds.length, 2);
  t.is(timing?.seconds[0], (0.1 + 0.01) / 2);
});

test('steps are averaged over a round and kept for each', async (t) => {
  const a = fake({ name: 'a', times: [8, 8, 4, 12, 8, 8] });
  const [timing] = await runRounds([a], { rounds: 2, secondsPerRound: 0.0155, steps: true });
  t.deepEqual(timing?.steps, [
    [0.25 * 8e6, 0.75 * 8e6],
    [0.25 * 8e6, 0.75 * 8e6],
  ]);
  const [without] = await runRounds([fake({ name: 'a', times: [1] })], { rounds: 1, secondsPerRound: 0.001 });
  t.deepEqual(without?.steps, []);
});

test('a signal ends the rounds after the run that is on; the round that it cuts short counts for nobody', async (t) => {
  const controller = new AbortController();
  const a = fake({ name: 'a', times: [10] });
  const b = fake({ name: 'b', times: [10], onRun: () => b.runs() === 4 && controller.abort() }); // two in the warm-up, one in the first round
  const timings = await runRounds([a, b], { rounds: 5, secondsPerRound: 0.001, signal: controller.signal });
  t.deepEqual(
    timings.map(({ seconds }) => seconds),
    [[0.01], [0.01]],
  );
  t.deepEqual([a.runs(), b.runs()], [4, 4]);
});

test('a signal in the warm-up leaves no figures', async (t) => {
  const a = fake({ name: 'a', times: [10] });
  const b = fake({ name: 'b', times: [10] });
  const timings = await runRounds([a, b], { rounds: 5, secondsPerRound: 1, signal: AbortSignal.abort() });
  t.deepEqual(
    timings.map(({ seconds }) => seconds),
    [[], []],
  );
  t.deepEqual([a.runs(), b.runs()], [0, 0]);
});

test('a run that takes no time that the clock can tell is a very short one', async (t) => {
  const [timing] = await runRounds([fake({ name: 'a', times: [0] })], { rounds: 2, secondsPerRound: 0.00001, steps: true });
  t.deepEqual(
    timing?.seconds.map((seconds) => Math.round(1e9 * seconds)),
    [1000, 1000],
  );
});

test('spreads are exact', (t) => {
  t.deepEqual(spread([5, 1, 4, 2, 3]), { median: 3, lowerQuartile: 2, upperQuartile: 4, minimum: 1, maximum: 5 });
  t.deepEqual(spread([1, 2]), { median: 1.5, lowerQuartile: 1.25, upperQuartile: 1.75, minimum: 1, maximum: 2 });
  t.deepEqual(spread([7]), { median: 7, lowerQuartile: 7, upperQuartile: 7, minimum: 7, maximum: 7 });
  t.is(median([3, 1, 100, 2]), 2.5);
});
