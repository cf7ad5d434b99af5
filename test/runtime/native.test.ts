import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { KernelWarehouseError } from '../../lib/errors.js';
import { callNativeAsync, loadFrom, loadNative } from '../../lib/runtime/native.js';

function temporaryFolder(t: { teardown(body: () => void): void }): string {
  const folder = mkdtempSync(join(tmpdir(), 'kernel-warehouse-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('the add-on is loaded once', (t) => {
  t.is(loadNative(), loadNative());
  t.is(loadNative().abiVersion, 3);
});

test("loading leaves the process's environment as it was", (t) => {
  loadNative();
  t.is(process.env.GOMP_SPINCOUNT, undefined);
});

test('without an add-on the error names every place and what to do', (t) => {
  const root = temporaryFolder(t);
  const error = t.throws(() => loadFrom(root), { instanceOf: KernelWarehouseError, code: 'ERR_KW_NATIVE_MISSING' });
  t.true(error?.message.includes(join(root, 'build', 'Release', 'kernel_warehouse.node')));
  t.true(error?.message.includes(join(root, 'prebuilds')));
  t.true(error?.message.includes('npm run build'));
});

test('a broken build is named and not papered over; without a build the prebuilt binary is loaded', (t) => {
  const root = temporaryFolder(t);
  const working = fileURLToPath(new URL('../../../build/Release/kernel_warehouse.node', import.meta.url));
  const build = join(root, 'build', 'Release');
  const prebuilds = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
  mkdirSync(build, { recursive: true });
  mkdirSync(prebuilds, { recursive: true });
  writeFileSync(join(build, 'kernel_warehouse.node'), 'not a library');
  copyFileSync(working, join(prebuilds, 'kernel-warehouse.node'));
  t.throws(() => loadFrom(root), { code: 'ERR_KW_NATIVE_MISSING', message: /kernel_warehouse\.node: .*(invalid|short|header)/i });
  rmSync(build, { recursive: true });
  t.is(loadFrom(root).abiVersion, 3);
});

test('arguments of the native classes cannot be confused', (t) => {
  const { Device, Buffer, Program } = loadNative();
  const device = new Device('cpu', 1, 0, false);
  const buffer = new Buffer(device, 8);
  const wrong = { code: 'ERR_KW_INVALID_ARGUMENT' };
  for (const value of [undefined, null, 1, {}, buffer, Object.create(device)]) {
    t.throws(() => new Buffer(value as typeof device, 8), wrong);
    t.throws(() => new Program(value as typeof device, '{}'), wrong);
  }
  t.throws(() => new Buffer(device, -1), wrong);
  t.throws(() => buffer.write(new Float32Array(1) as unknown as Uint8Array, 0), wrong);
  t.throws(() => buffer.read(0, 9), wrong);
  device.release();
  t.throws(() => new Buffer(device, 8), wrong);
  t.throws(() => device.synchronize(), wrong);
});

test('foreign errors become internal ones', async (t) => {
  await t.throwsAsync(
    callNativeAsync(() => Promise.reject(new Error('lost'))),
    { instanceOf: KernelWarehouseError, code: 'ERR_KW_INTERNAL', message: 'lost' },
  );
  await t.throwsAsync(
    callNativeAsync(() => {
      throw 'text';
    }),
    { code: 'ERR_KW_INTERNAL', message: 'text' },
  );
});
