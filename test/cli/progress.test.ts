import test from 'ava';
import { formatDuration, formatRate, Progress } from '../../lib/cli/progress.js';

function recorder(properties: { isTTY?: boolean; columns?: number } = {}): { stream: NodeJS.WriteStream; text: () => string } {
  const written: string[] = [];
  const stream = { ...properties, write: (text: string) => written.push(text) > 0 } as unknown as NodeJS.WriteStream;
  return { stream, text: () => written.join('') };
}

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test('not on a terminal: lines at most every few seconds and one at the end, without control characters', async (t) => {
  const { stream, text } = recorder();
  const progress = new Progress({ label: 'epoch 1/2', total: 100, stream, interval: 0.05 });
  for (let done = 1; done <= 100; done++) {
    progress.update(done, { loss: (1 / done).toFixed(3) });
    if (done % 10 === 0) await wait(12);
  }
  progress.stop();
  progress.stop();
  const lines = text().trimEnd().split('\n');
  t.true(lines.length >= 2 && lines.length <= 11, text());
  t.regex(lines[0] as string, /^epoch 1\/2 {2}\d+\/100 {2}[\d.]+ images\/s {2}\d+s left {2}loss 0\.\d+$/);
  t.regex(lines.at(-1) as string, /^epoch 1\/2 {2}100\/100 {2}[\d.]+ images\/s {2}loss 0\.010$/);
  t.false(text().includes('\u001b'));
});

test('on a terminal: one line that fits, the cursor stays visible', async (t) => {
  for (const columns of [120, 80, 40, 12, 1]) {
    const { stream, text } = recorder({ isTTY: true, columns });
    const progress = new Progress({ label: 'epoch 1/2', total: 4, stream });
    progress.update(2, { loss: '0.500', top1: '50.0 %' });
    await wait(300);
    progress.log('a line above');
    progress.stop();
    t.false(text().includes('\u001b[?25l'));
    t.false(text().includes('\u001b[?7l'));
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control sequences are what is taken out
    const plain = text().replaceAll(/\u001b(\[[\d;?]*[A-Za-z]|[78])/g, '\r');
    for (const line of plain.split(/[\r\n]+/)) t.true(line === 'a line above' || line.length <= columns, line);
    t.true(plain.includes('\ra line above\n'));
    t.true(plain.endsWith('\n'));
    if (columns >= 80)
      t.regex(plain, /\repoch 1\/2 {2}\[(=+)( +)\] {2}2\/4 {2}[\d.]+ images\/s {2}\d+s left {2}loss 0\.500 {2}top1 50\.0 %\r/);
  }
});

test('work done before a resumed run does not count for the rate', async (t) => {
  const { stream, text } = recorder();
  const progress = new Progress({ label: 'x', total: 1000, done: 900, stream });
  await wait(50);
  progress.update(901);
  progress.stop();
  const rate = Number(/ ([\d.]+) images\/s/.exec(text())?.[1]);
  t.true(rate > 0 && rate < 21, text());
});

test('nothing to do', (t) => {
  for (const isTTY of [true, false]) {
    const { stream, text } = recorder({ isTTY });
    new Progress({ label: 'x', total: 0, stream }).stop();
    t.true(text().includes('0/0'));
  }
});

test('numbers', (t) => {
  t.deepEqual([0.523, 38.14, 1240.4].map(formatRate), ['0.52', '38.1', '1240']);
  t.deepEqual([0.4, 59.4, 59.6, 185, 7620, 270_000].map(formatDuration), ['0s', '59s', '1m00s', '3m05s', '2h07m', '3d03h']);
});

test('transient: nothing is left behind', (t) => {
  const plain = recorder();
  const lines = new Progress({ label: 'epoch 1/2', total: 2, stream: plain.stream, transient: true });
  lines.update(2);
  lines.stop();
  t.is(plain.text(), '');
  const terminal = recorder({ isTTY: true, columns: 80 });
  const bar = new Progress({ label: 'epoch 1/2', total: 2, stream: terminal.stream, transient: true });
  bar.update(2);
  bar.stop();
  t.false(terminal.text().endsWith('\n'));
});
