import { setTimeout as sleep } from 'node:timers/promises';
import test from 'ava';
import type { ErrorCode } from '../../lib/errors.js';
import { KernelWarehouseError } from '../../lib/errors.js';
import type { Plan } from '../../lib/plan/plan.js';
import type { DeviceBuffer } from '../../lib/runtime/buffer.js';
import { Device, type DeviceName } from '../../lib/runtime/device.js';
import { incrementPlan, matmulPlan } from './plans.js';

const refused = (code: ErrorCode, message?: RegExp) => ({ instanceOf: KernelWarehouseError, code, ...(message ? { message } : {}) });

test('a device writes, runs and reads in the order of the calls', async (t) => {
  using device = Device.open('cpu', { threads: 2 });
  t.is(device.name, 'cpu');
  t.is(device.threads, 2);
  using x = device.allocate(12);
  using y = device.allocate(16);
  using program = device.prepare(incrementPlan(3)).bind({ x, y });
  const values = new Float32Array([1, 2, 3]);
  const written = x.write(values);
  values.fill(100); // the bytes were taken during the call
  const ran = program.run();
  const first = y.read(0, 12);
  void x.write(new Float32Array([7]), 8);
  void program.run();
  t.deepEqual(new Float32Array(await first), new Float32Array([2, 3, 4]));
  t.deepEqual(new Float32Array(await y.read(4)), new Float32Array([3, 8, 0]));
  t.is(await written, undefined);
  t.is(await ran, undefined);
  await y.fill();
  t.deepEqual(new Float32Array(await y.read()), new Float32Array(4));
  await device.synchronize();
});

test('any view can be written: its own bytes, also the shared ones', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using buffer = device.allocate(8);
  const shared = new Uint8Array(new SharedArrayBuffer(4)).fill(9);
  const view = new DataView(new Uint8Array([0, 1, 2, 3, 4, 5]).buffer, 2, 3);
  await buffer.write(view, 1);
  await buffer.write(shared.subarray(0, 1), 7);
  t.deepEqual(new Uint8Array(await buffer.read()), new Uint8Array([0, 2, 3, 4, 0, 0, 0, 9]));
  const detached = new Uint8Array(4);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  await t.throwsAsync(buffer.write(detached), refused('ERR_KW_INVALID_ARGUMENT', /transferred/));
});

test('wrong arguments of a device', (t) => {
  const open = (name: string, options?: object) => () => Device.open(name as DeviceName, options);
  t.throws(open('tpu'), refused('ERR_KW_INVALID_ARGUMENT', /'tpu'; choose auto, cpu, cuda/));
  t.throws(open('cuda', { index: 999 }), refused('ERR_KW_CUDA_UNAVAILABLE', /'cpu'/));
  for (const threads of [0, -1, 1.5, 1025, Number.NaN, '2'])
    t.throws(open('cpu', { threads }), refused('ERR_KW_INVALID_ARGUMENT', /threads/));
  t.throws(open('cpu', { thread: 1 }), refused('ERR_KW_INVALID_ARGUMENT', /no option 'thread'/));
  using device = Device.open('cpu', { threads: 1 });
  for (const bytes of [-1, 0.5, Number.NaN, 2 ** 60]) t.throws(() => device.allocate(bytes), refused('ERR_KW_INVALID_ARGUMENT'));
  t.throws(() => device.allocate(2 ** 52), refused('ERR_KW_OUT_OF_MEMORY', /4503599627370496 bytes/));
  t.deepEqual(device.memory(), { buffers: 0, bytes: 0, programs: 0, used: 0, total: 0 });
});

test.serial('auto honours KW_DEVICE', (t) => {
  const before = process.env.KW_DEVICE;
  t.teardown(() => {
    if (before === undefined) delete process.env.KW_DEVICE;
    else process.env.KW_DEVICE = before;
  });
  process.env.KW_DEVICE = 'cpu';
  t.is(Device.open().name, 'cpu');
  process.env.KW_DEVICE = 'cuda';
  t.throws(() => Device.open('auto', { index: 999 }), refused('ERR_KW_CUDA_UNAVAILABLE'));
  t.is(Device.open('cpu').name, 'cpu');
  process.env.KW_DEVICE = 'gpu';
  t.throws(() => Device.open(), refused('ERR_KW_INVALID_ARGUMENT', /KW_DEVICE is 'gpu'/));
});

test('wrong ranges of a buffer reject', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using buffer = device.allocate(8);
  const outside = refused('ERR_KW_INVALID_ARGUMENT', /outside the buffer, which has 8 bytes/);
  await t.throwsAsync(buffer.write(new Uint8Array(9)), outside);
  await t.throwsAsync(buffer.write(new Uint8Array(1), 8), outside);
  await t.throwsAsync(buffer.write(new Uint8Array(1), -1), outside);
  await t.throwsAsync(buffer.write(new Uint8Array(1), 0.5), outside);
  await t.throwsAsync(buffer.read(9), outside);
  await t.throwsAsync(buffer.read(0, 9), outside);
  await t.throwsAsync(buffer.read(4, Number.NaN), outside);
  await t.throwsAsync(buffer.write([1] as unknown as Uint8Array), refused('ERR_KW_INVALID_ARGUMENT', /typed array/));
  t.is((await buffer.read(8)).byteLength, 0);
  t.is(buffer.address % 64n, 0n);
  t.not(buffer.address, 0n);
});

test('wrong bindings, and none', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using other = Device.open('cpu', { threads: 1 });
  using program = device.prepare(incrementPlan(3));
  using x = device.allocate(12);
  using small = device.allocate(11);
  using foreign = other.allocate(12);
  const invalid = (message: RegExp) => refused('ERR_KW_INVALID_ARGUMENT', message);
  await t.throwsAsync(program.run(), refused('ERR_KW_NOT_BOUND', /'x', 'y'/));
  t.throws(() => program.bind({ x, z: x }), invalid(/no buffer 'z' to bind; it has 'x', 'y'/));
  t.throws(() => program.bind({ workspace: x }), invalid(/no buffer 'workspace'/));
  t.throws(() => program.bind({ y: small }), invalid(/needs 12 bytes, but has 11/));
  t.throws(() => program.bind({ y: foreign }), invalid(/another device/));
  t.throws(() => program.bind({ y: {} as DeviceBuffer }), invalid(/DeviceBuffer/));
  await t.throwsAsync(program.run(), refused('ERR_KW_NOT_BOUND', /'x', 'y'/)); // a refused bind binds nothing
  program.bind({ x });
  await t.throwsAsync(program.run(), refused('ERR_KW_NOT_BOUND', /: 'y'$/));
});

test('plans that cannot be prepared', (t) => {
  using device = Device.open('cpu', { threads: 1 });
  const plan = incrementPlan(3);
  const prepare = (changes: object) => () => device.prepare({ ...plan, ...changes } as Plan);
  t.throws(prepare({ version: 2 }), refused('ERR_KW_INVALID_PLAN', /plan\.version/));
  t.throws(prepare({ steps: [{ ...plan.steps[0], op: 'teleport' }] }), refused('ERR_KW_UNSUPPORTED', /\[teleport\] the fill/));
  t.throws(prepare({ steps: [{ ...plan.steps[1], inputs: [1] }] }), refused('ERR_KW_INVALID_PLAN', /\[add\] the add/));
  t.throws(prepare({ buffers: [{ name: 'workspace', bytes: 2 ** 46 }, ...plan.buffers.slice(1)] }), refused('ERR_KW_OUT_OF_MEMORY'));
  for (const value of [undefined, null, 1, 'plan', []])
    t.throws(() => device.prepare(value as unknown as Plan), refused('ERR_KW_INVALID_PLAN'));
  t.is(device.memory().programs, 0);
});

test('memory and step times', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using x = device.allocate(400);
  using y = device.allocate(400);
  using program = device.prepare(incrementPlan(100)).bind({ x, y });
  t.is(program.memory.workspace, 400);
  t.deepEqual(
    program.stepTimes().map(({ nanoseconds }) => nanoseconds),
    [0, 0],
  );
  await program.run();
  const times = program.stepTimes();
  t.deepEqual(
    times.map(({ op, label }) => [op, label]),
    [
      ['fill', 'the fill'],
      ['add', 'the add'],
    ],
  );
  t.true(times.every(({ nanoseconds }) => nanoseconds > 0 && nanoseconds < 1e9));
  const { scratch } = program.memory;
  t.deepEqual(device.memory(), { buffers: 2, bytes: 1200 + scratch, programs: 1, used: 0, total: 0 });
  program.dispose();
  x.dispose();
  await device.synchronize();
  t.deepEqual(device.memory(), { buffers: 1, bytes: 400, programs: 0, used: 0, total: 0 });
});

test('after dispose everything says so; twice is nothing', async (t) => {
  const device = Device.open('cpu', { threads: 1 });
  const x = device.allocate(12);
  const program = device.prepare(incrementPlan(3));
  const disposed = refused('ERR_KW_DISPOSED');
  x.dispose();
  x.dispose();
  t.true(x.disposed);
  t.throws(() => program.bind({ x }), disposed);
  t.throws(() => x.address, disposed);
  await t.throwsAsync(x.write(new Uint8Array(1)), disposed);
  await t.throwsAsync(x.read(), disposed);
  await t.throwsAsync(x.fill(), disposed);
  device.dispose();
  device.dispose();
  t.throws(() => device.allocate(1), disposed);
  t.throws(() => device.prepare(incrementPlan(3)), disposed);
  t.throws(() => device.memory(), disposed);
  await t.throwsAsync(device.synchronize(), disposed);
  program.dispose();
  program.dispose();
  await t.throwsAsync(program.run(), disposed);
  t.throws(() => program.stepTimes(), disposed);
});

test('disposing everything while work is queued: it still finishes', async (t) => {
  const device = Device.open('cpu', { threads: 2 });
  const x = device.allocate(12);
  const y = device.allocate(12);
  const program = device.prepare(incrementPlan(3)).bind({ x, y });
  const slow = device.prepare(matmulPlan(256, 50));
  const runs = [slow.run(), x.write(new Float32Array([1, 2, 3])), program.run()];
  const result = y.read();
  for (const owner of [device, x, y, program, slow]) owner.dispose();
  await Promise.all(runs);
  t.deepEqual(new Float32Array(await result), new Float32Array([2, 3, 4]));
});

test('the event loop stays free during a run', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using program = device.prepare(matmulPlan(512, 100));
  let ticks = 0;
  let longest = 0;
  let last = performance.now();
  const started = last;
  const timer = setInterval(() => {
    ticks += 1;
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 1);
  const call = performance.now();
  const running = program.run();
  const called = performance.now() - call;
  await running;
  clearInterval(timer);
  const whole = performance.now() - started;
  t.log(`${Math.round(whole)} ms, ${ticks} ticks, longest gap ${Math.round(longest)} ms, call ${called.toFixed(2)} ms`);
  t.true(called < whole / 4);
  t.true(ticks > 5);
  t.true(longest < whole / 2);
});

test('an error has the stack of the call', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using program = device.prepare(incrementPlan(3));
  const error = await t.throwsAsync(program.run());
  t.regex(error?.stack ?? '', /device\.test/);
});

test('preparing, running and disposing a thousand programs keeps memory flat', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  const round = async (count: number) => {
    for (let index = 0; index < count; index += 1) {
      using x = device.allocate(40_000);
      using y = device.allocate(40_000);
      using program = device.prepare(incrementPlan(10_000)).bind({ x, y });
      await x.write(new Float32Array(10_000));
      await program.run();
      await y.read();
    }
    await sleep(20);
  };
  await round(300);
  const before = process.memoryUsage().rss;
  await round(1000);
  const grown = process.memoryUsage().rss - before;
  t.log(`${(grown / 2 ** 20).toFixed(1)} MiB`);
  t.true(grown < 30 * 2 ** 20, `grew by ${grown} bytes`); // leaking one buffer each would be 120 MiB
  t.deepEqual(device.memory(), { buffers: 0, bytes: 0, programs: 0, used: 0, total: 0 });
});

test('opening and disposing many devices leaves no threads behind', async (t) => {
  const { readdir } = await import('node:fs/promises');
  const threads = async () => (process.platform === 'linux' ? (await readdir('/proc/self/task')).length : 0);
  const before = await threads();
  for (let index = 0; index < 100; index += 1) {
    using device = Device.open('cpu', { threads: 2 });
    using buffer = device.allocate(64);
    await buffer.fill();
  }
  await sleep(50);
  t.true((await threads()) < before + 20);
});
