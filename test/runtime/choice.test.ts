/** Which device opens: by name, by environment, and what is said when there is no GPU. Each in a process of its own, which knows one plug-in. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { Device } from '../../lib/runtime/device.js';

const device = new URL('../../lib/runtime/device.js', import.meta.url).href;
const folder = mkdtempSync(join(tmpdir(), 'kernel-warehouse-choice-'));
test.after.always(() => rmSync(folder, { recursive: true }));

interface Opened {
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly warnings: readonly string[];
}

/** Opens the device twice, with the plug-in's file, in a new process. */
async function open(name: string, plugin: string, environment: Record<string, string> = {}): Promise<Opened> {
  const script = `
    const warnings = [];
    process.on('warning', (warning) => warnings.push(warning.code + ' ' + warning.message));
    const { Device } = await import(${JSON.stringify(device)});
    let result;
    try {
      for (let time = 0; time < 2; time++) { const device = Device.open(${JSON.stringify(name)}); result = { name: device.name }; device.dispose(); }
    } catch ({ code, message }) { result = { code, message }; }
    setImmediate(() => console.log(JSON.stringify({ ...result, warnings })));
  `;
  const env = { ...process.env, KW_DEVICE: '', KW_CUDA_PLUGIN: plugin, ...environment };
  const { stdout } = await promisify(execFile)(process.execPath, ['--no-warnings', '--input-type=module', '-e', script], { env });
  return JSON.parse(stdout) as Opened;
}

test('without a plug-in auto is the CPU, without a word, and cuda says where the plug-in should be', async (t) => {
  const missing = join(folder, 'missing.so');
  t.deepEqual(await open('auto', missing), { name: 'cpu', warnings: [] });
  const { code, message, warnings } = await open('cuda', missing);
  t.is(code, 'ERR_KW_CUDA_UNAVAILABLE');
  t.true(message?.includes(`${missing} does not exist`), message);
  t.deepEqual(warnings, []);
});

test('a plug-in that does not work is an error for cuda and one warning for auto', async (t) => {
  const broken = join(folder, 'broken.so');
  writeFileSync(broken, 'not a library');
  const { code, message } = await open('cuda', broken);
  t.is(code, 'ERR_KW_CUDA_UNAVAILABLE');
  t.true(message?.includes(`The plug-in ${broken} does not load`), message);
  const { name, warnings } = await open('auto', broken);
  t.is(name, 'cpu');
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? '', /^KW_CUDA_FALLBACK Computing on the CPU\. .*does not load/);
  t.deepEqual(await open('auto', broken, { KW_DEVICE: 'cpu' }), { name: 'cpu', warnings: [] });
});

const emulated = process.env.KW_CUDA_PLUGIN ?? '';

/** A plug-in that works says in its text which headers it was built with; one digit of that is changed. */
(existsSync(emulated) ? test : test.skip)('a plug-in that was built with other headers is refused', async (t) => {
  const bytes = readFileSync(emulated);
  const digit = bytes.indexOf(', border ') + ', border '.length;
  t.regex(bytes.toString('latin1', digit, digit + 13), /^[0-9a-f]{12},$/);
  bytes[digit] = bytes.toString('latin1', digit, digit + 1) === '0' ? 0x31 : 0x30;
  const foreign = join(folder, 'foreign.so');
  writeFileSync(foreign, bytes);
  const { code, message } = await open('cuda', foreign);
  t.is(code, 'ERR_KW_CUDA_UNAVAILABLE');
  t.regex(message ?? '', /foreign\.so is of another build .* than this library .*: take both from one build/);
  t.is((await open('auto', foreign)).name, 'cpu');
});

test("memory of the caller's is a buffer: both see what is written", async (t) => {
  using cpu = Device.open('cpu', { threads: 1 });
  t.is(cpu.stream, 0n);
  using own = cpu.allocate(16);
  using wrapped = cpu.wrap(own.address + 4n, 8);
  await wrapped.write(Float32Array.of(1, 2));
  wrapped.changed();
  t.deepEqual([...new Float32Array(await own.read())], [0, 1, 2, 0]);
  t.is(wrapped.address, own.address + 4n);
  t.throws(() => cpu.wrap(0n, 8), { code: 'ERR_KW_INVALID_ARGUMENT' });
  t.throws(() => cpu.wrap(own.address + 1n, 8), { code: 'ERR_KW_INVALID_ARGUMENT' });
  t.throws(() => cpu.wrap(16 as unknown as bigint, 8), { code: 'ERR_KW_INVALID_ARGUMENT' });
  t.throws(() => cpu.wrap(own.address, -1), { code: 'ERR_KW_INVALID_ARGUMENT' });
  t.throws(() => Device.open('cpu', { index: -1 }), { code: 'ERR_KW_INVALID_ARGUMENT' });
  t.throws(() => Device.open('cpu', { tf32: 'yes' as unknown as boolean }), { code: 'ERR_KW_INVALID_ARGUMENT' });
});
