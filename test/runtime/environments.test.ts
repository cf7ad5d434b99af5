/** Several JavaScript environments in one process, and environments that end with work queued. */
import { spawn } from 'node:child_process';
import { Worker } from 'node:worker_threads';
import test from 'ava';

const lib = new URL('../../lib/runtime/device.js', import.meta.url).href;
const plans = new URL('./plans.js', import.meta.url).href;
const imports = `const { Device } = await import('${lib}'); const { incrementPlan, matmulPlan } = await import('${plans}');`;

/** Runs a module's text in a worker; gives the exit code and what it posted. */
function inWorker(text: string): { worker: Worker; done: Promise<{ code: number; messages: unknown[] }> } {
  const source = `(async () => { const { parentPort } = await import('node:worker_threads'); ${imports} ${text} })();`;
  const worker = new Worker(source, { eval: true });
  const messages: unknown[] = [];
  const done = new Promise<{ code: number; messages: unknown[] }>((resolve, reject) => {
    worker.on('message', (message) => messages.push(message));
    worker.on('error', reject);
    worker.on('exit', (code) => resolve({ code, messages }));
  });
  return { worker, done };
}

function inProcess(text: string): Promise<{ code: number | null; signal: string | null; output: string; ended: number }> {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', `${imports} ${text}`], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, output, ended: Date.now() }));
  });
}

test('several workers compute at once', async (t) => {
  const workers = [1, 2, 3, 4].map((number) =>
    inWorker(`
        const device = Device.open('cpu', { threads: 1 });
        const x = device.allocate(4000), y = device.allocate(4000);
        const program = device.prepare(incrementPlan(1000)).bind({ x, y });
        for (let run = 0; run < 50; run += 1) {
          await x.write(new Float32Array(1000).fill(${number} * 100 + run));
          await program.run();
          const result = new Float32Array(await y.read());
          if (!result.every((value) => value === ${number} * 100 + run + 1)) throw new Error('wrong result');
        }
        parentPort.postMessage('right');`),
  );
  for (const { done } of workers) t.deepEqual(await done, { code: 0, messages: ['right'] });
});

test('a worker that is terminated in the middle of a run leaves the process unharmed', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const { worker, done } = inWorker(`
      const device = Device.open('cpu', { threads: 1 });
      const program = device.prepare(matmulPlan(256, 1000));
      const buffer = device.allocate(1 << 20);
      for (let run = 0; run < 20; run += 1) { program.run().catch(() => {}); buffer.read(); }
      parentPort.postMessage('queued');`);
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
    t.is((await done).code, 1);
  }
});

test('a process with queued work that exits does so at once and cleanly', async (t) => {
  const result = await inProcess(`
    const device = Device.open('cpu', { threads: 1 });
    const program = device.prepare(matmulPlan(512, 10000));
    program.run();
    const buffer = device.allocate(1 << 20);
    buffer.read();
    setTimeout(() => { console.log(Date.now()); process.exit(7); }, 50);`);
  t.is(result.code, 7, `${result.signal} ${result.output}`);
  const milliseconds = result.ended - Number(result.output);
  t.true(milliseconds < 10_000, `${milliseconds} ms`); // the queue holds minutes of work
});

test('a process waits for its queued work, and then ends by itself without disposing', async (t) => {
  const result = await inProcess(`
    const device = Device.open('cpu', { threads: 1 });
    const program = device.prepare(matmulPlan(256, 100));
    program.run().then(() => console.log('done'));`);
  t.deepEqual([result.code, result.output], [0, 'done\n']);
});

test('objects that are collected, not disposed, free their memory', async (t) => {
  const result = await inProcess(`
    const { setFlagsFromString } = await import('node:v8');
    const { runInNewContext } = await import('node:vm');
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc');
    const device = Device.open('cpu', { threads: 1 });
    for (let index = 0; index < 100; index += 1) { device.allocate(1000); device.prepare(incrementPlan(10)); Device.open('cpu', { threads: 1 }); }
    for (let round = 0; round < 10; round += 1) { collect(); await new Promise((resolve) => setTimeout(resolve, 5)); }
    console.log(JSON.stringify(device.memory()));`);
  t.is(result.code, 0, result.output);
  const { buffers, programs } = JSON.parse(result.output);
  t.true(buffers < 10 && programs < 10, result.output);
});
