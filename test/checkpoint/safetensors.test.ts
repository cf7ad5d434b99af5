import { mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { writeFileAtomically } from '../../lib/checkpoint/atomic_file.js';
import { readSafetensors, SafetensorsFile, writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { STORED_ARRAYS, type StoredTensor, type StoredType, toFloat32 } from '../../lib/checkpoint/stored_tensor.js';
import { KernelWarehouseError } from '../../lib/errors.js';

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-safetensors-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function encode(header: string | Uint8Array, data: Uint8Array = new Uint8Array(), headerBytes?: bigint): Uint8Array {
  const json = Buffer.from(header as string);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(headerBytes ?? BigInt(json.length));
  return Buffer.concat([length, json, data]);
}

const float32 = (...values: number[]): StoredTensor => ({ type: 'F32', shape: [values.length], data: Float32Array.from(values) });

const anyTensor = fc
  .tuple(
    fc.constantFrom(...(Object.keys(STORED_ARRAYS) as StoredType[])),
    fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    fc.infiniteStream(fc.nat(255)),
  )
  .map(([type, shape, stream]): StoredTensor => {
    const size = shape.reduce((product, length) => product * length, STORED_ARRAYS[type].BYTES_PER_ELEMENT);
    const bytes = new Uint8Array(size);
    for (let i = 0; i < size; i++) bytes[i] = stream.next().value as number;
    return { type, shape, data: new STORED_ARRAYS[type](bytes.buffer) };
  });

test('what is written is read again, bit by bit, in the same order', async (t) => {
  const path = join(await temporaryFolder(t), 'tensors.safetensors');
  const names = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('10', '2', '__proto__', 'constructor', '"\\'));
  const property = fc.asyncProperty(
    fc.uniqueArray(fc.tuple(names, anyTensor), { selector: ([name]) => name, maxLength: 6 }),
    fc.dictionary(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' })),
    async (entries, metadata) => {
      await writeSafetensors(path, new Map(entries), metadata);
      const read = await readSafetensors(path);
      const bytes = (tensor: StoredTensor) =>
        Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength).toString('hex');
      const plain = (list: Iterable<[string, StoredTensor]>) =>
        [...list].map(([name, tensor]) => [name, tensor.type, tensor.shape, bytes(tensor)]);
      // Empty tensors share their place with the next one, so only the set is compared.
      const sort = (list: unknown[][]) => list.sort((a, b) => Buffer.compare(Buffer.from(a[0] as string), Buffer.from(b[0] as string)));
      t.deepEqual(sort(plain(read.tensors)), sort(plain(entries)));
      t.deepEqual({ ...read.metadata }, { ...metadata });
    },
  );
  await fc.assert(property, { numRuns: 60 });
});

test('tensors are read one by one', async (t) => {
  const path = join(await temporaryFolder(t), 'tensors.safetensors');
  await writeSafetensors(
    path,
    new Map([
      ['a', float32(1, 2, 3)],
      ['b', { type: 'I64', shape: [], data: BigInt64Array.of(-7n) }],
      ['0', float32(1)],
    ]),
    { format: 'pt' },
  );
  const file = await SafetensorsFile.open(path);
  t.teardown(() => file.close());
  t.deepEqual(file.names, ['a', 'b', '0']);
  t.deepEqual(file.metadata, { format: 'pt' });
  t.true(file.has('b'));
  t.deepEqual((await file.read('b')).data, BigInt64Array.of(-7n));
  t.deepEqual((await file.read('a')).data, Float32Array.of(1, 2, 3));
  const error = await t.throwsAsync(file.read('c'), { instanceOf: KernelWarehouseError, code: 'ERR_KW_CHECKPOINT' });
  t.regex(error?.message ?? '', /tensors\.safetensors, tensor "c": no such tensor/);
});

test('the bytes are those of the format, data aligned to 8', async (t) => {
  const path = join(await temporaryFolder(t), 'tensors.safetensors');
  await writeSafetensors(path, new Map([['w', float32(1)]]));
  const bytes = await readFile(path);
  const headerBytes = Number(bytes.readBigUInt64LE());
  t.is(headerBytes % 8, 0);
  t.is(bytes.toString('utf8', 8, 8 + headerBytes).trimEnd(), '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}');
  t.is(bytes.toString('hex', 8 + headerBytes), '0000803f');
});

test('half-precision types become float32', (t) => {
  const bits = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x7c00, 0x8000);
  t.deepEqual(toFloat32({ type: 'F16', shape: [6], data: bits }), Float32Array.of(1, -2, 65504, 2 ** -24, Infinity, -0));
  t.deepEqual(toFloat32({ type: 'BF16', shape: [3], data: Uint16Array.of(0x3f80, 0xc000, 0x7f80) }), Float32Array.of(1, -2, Infinity));
  t.deepEqual(toFloat32({ type: 'I64', shape: [1], data: BigInt64Array.of(-3n) }), Float32Array.of(-3));
});

const entry = (changes: object = {}) => ({ dtype: 'F32', shape: [1], data_offsets: [0, 4], ...changes });
const four = new Uint8Array(4);
const eight = new Uint8Array(8);
const hostile: readonly [string, Uint8Array, RegExp][] = [
  ['empty', new Uint8Array(), /too short/],
  ['header length beyond the file', encode('{}', undefined, 99n), /cut short/],
  ['huge header length', encode('{}', undefined, 2n ** 63n), /not a safetensors file/],
  ['header is not JSON', encode('{"a":'), /not valid JSON/],
  ['header is a list', encode('[]'), /begin with \{/],
  ['header is not UTF-8', encode(Uint8Array.of(0x7b, 0xff, 0x7d)), /UTF-8/],
  ['deep nesting', encode(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`), /not an object/],
  ['deep nesting, cut', encode(`{"a":${'['.repeat(2_000_000)}`), /not valid JSON/],
  [
    'duplicate name',
    encode('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', four),
    /"a" twice/,
  ],
  ['duplicate field', encode('{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', four), /"dtype" twice/],
  ['unknown dtype', encode(JSON.stringify({ w: entry({ dtype: 'F3' }) }), four), /tensor "w": dtype "F3"/],
  ['dtype from the prototype', encode(JSON.stringify({ w: entry({ dtype: 'toString' }) }), four), /tensor "w": dtype/],
  ['no dtype', encode('{"w":{}}', four), /tensor "w": dtype is missing/],
  ['unknown field', encode(JSON.stringify({ w: entry({ extra: 1 }) }), four), /unknown key "extra"/],
  ['entry is null', encode('{"w":null}'), /tensor "w": its entry is not an object/],
  ['negative size', encode(JSON.stringify({ w: entry({ shape: [-1] }) }), four), /tensor "w": shape/],
  ['size is not whole', encode(JSON.stringify({ w: entry({ shape: [0.5] }) }), four), /tensor "w": shape/],
  ['size overflows', encode('{"w":{"dtype":"F32","shape":[1e999],"data_offsets":[0,4]}}', four), /tensor "w": shape/],
  ['product overflows', encode(JSON.stringify({ w: entry({ shape: [2 ** 40, 2 ** 40] }) }), four), /tensor "w": shape/],
  ['offset overflows', encode('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}}', four), /data_offsets/],
  ['three offsets', encode(JSON.stringify({ w: entry({ data_offsets: [0, 4, 8] }) }), four), /data_offsets/],
  ['offsets reversed', encode(JSON.stringify({ w: entry({ data_offsets: [4, 0] }) }), four), /outside/],
  ['data cut short', encode(JSON.stringify({ w: entry() }), new Uint8Array(3)), /tensor "w": .*cut short/],
  ['size does not fit the shape', encode(JSON.stringify({ w: entry({ shape: [2] }) }), four), /needs 8/],
  ['overlap', encode(JSON.stringify({ a: entry(), b: entry() }), four), /tensor "b": its data overlaps/],
  ['gap', encode(JSON.stringify({ a: entry({ data_offsets: [4, 8] }) }), eight), /4 bytes before its data belong to no tensor/],
  ['bytes left over', encode(JSON.stringify({ a: entry() }), eight), /4 bytes at the end/],
  ['metadata is no object', encode('{"__metadata__":[]}'), /__metadata__/],
  ['metadata is no string', encode('{"__metadata__":{"a":1}}'), /"a" is not a string/],
];

for (const [title, bytes, message] of hostile) {
  test(`refused: ${title}`, async (t) => {
    const path = join(await temporaryFolder(t), 'bad.safetensors');
    await writeFile(path, bytes);
    const error = await t.throwsAsync(SafetensorsFile.open(path), { instanceOf: KernelWarehouseError, code: 'ERR_KW_CHECKPOINT' });
    t.true(error?.message.startsWith(path), error?.message);
    t.regex(error?.message ?? '', message);
  });
}

test('a missing file, a folder: typed errors', async (t) => {
  const folder = await temporaryFolder(t);
  await t.throwsAsync(SafetensorsFile.open(join(folder, 'none')), { code: 'ERR_KW_CHECKPOINT', message: /none: cannot be read: ENOENT/ });
  await t.throwsAsync(SafetensorsFile.open(folder), { code: 'ERR_KW_CHECKPOINT', message: /not a file/ });
});

test('changed bytes give the same tensors or a typed error, never anything else', async (t) => {
  const path = join(await temporaryFolder(t), 'mutated.safetensors');
  await writeSafetensors(
    path,
    new Map([
      ['a', float32(1, 2)],
      ['b', { type: 'I8', shape: [2, 2], data: Int8Array.of(1, 2, 3, 4) }],
    ]),
    { format: 'pt' },
  );
  const original = await readFile(path);
  const mutation = fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  const property = fc.asyncProperty(mutation, fc.nat(original.length), async (changes, length) => {
    const bytes = Buffer.from(original);
    for (const [position, value] of changes) bytes[position] = value;
    await writeFile(path, length % 3 === 0 ? bytes.subarray(0, length) : bytes);
    await readSafetensors(path).catch((error: unknown) => {
      if (!(error instanceof KernelWarehouseError && error.code === 'ERR_KW_CHECKPOINT')) throw error;
    });
  });
  await fc.assert(property, { numRuns: 400 });
  t.pass();
});

test('a tensor whose parts do not fit is refused before the file is touched', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'tensors.safetensors');
  const write = (name: string, tensor: StoredTensor) => writeSafetensors(path, new Map([[name, tensor]]));
  await t.throwsAsync(write('w', { ...float32(1), shape: [2] }), {
    code: 'ERR_KW_CHECKPOINT',
    message: /tensor "w": shape \[2\] does not fit/,
  });
  await t.throwsAsync(write('w', { ...float32(1), type: 'I32' }), { code: 'ERR_KW_CHECKPOINT', message: /needs a Int32Array/ });
  await t.throwsAsync(write('__metadata__', float32(1)), { code: 'ERR_KW_CHECKPOINT', message: /reserved/ });
  await t.throwsAsync(write('\ud800', float32(1)), { code: 'ERR_KW_CHECKPOINT', message: /Unicode/ });
  await t.throwsAsync(writeSafetensors(join(folder, 'no', 'where'), new Map()), {
    code: 'ERR_KW_CHECKPOINT',
    message: /cannot be written: ENOENT/,
  });
  t.deepEqual(await readdir(folder), []);
});

test('a write that fails leaves the old file and nothing else', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'tensors.safetensors');
  await writeSafetensors(path, new Map([['w', float32(1)]]));
  const before = await readFile(path);
  const failing = writeFileAtomically(path, async (file) => {
    await file.write('half of it');
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  });
  await t.throwsAsync(failing, { message: /no space left/ });
  t.deepEqual(await readFile(path), before);
  t.deepEqual(await readdir(folder), ['tensors.safetensors']);
});

test('what a killed writer left is removed by the next write, what a live one has is not', async (t) => {
  const folder = await temporaryFolder(t);
  const stale = join(folder, '.w.safetensors.0123456789abcdef.tmp');
  const live = join(folder, '.w.safetensors.fedcba9876543210.tmp');
  const other = join(folder, '.w.safetensors.notes.tmp');
  for (const path of [stale, live, other]) await writeFile(path, 'x');
  const yesterday = new Date(Date.now() - 86_400_000);
  for (const path of [stale, other]) await utimes(path, yesterday, yesterday);
  await writeSafetensors(join(folder, 'w.safetensors'), new Map());
  t.deepEqual((await readdir(folder)).sort(), ['.w.safetensors.fedcba9876543210.tmp', '.w.safetensors.notes.tmp', 'w.safetensors']);
});

test('writers at the same time do not mix, and a link stays a link', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'last.safetensors');
  await writeFile(join(folder, 'real.safetensors'), '');
  await symlink('real.safetensors', path);
  const values = [1, 2, 3, 4, 5, 6];
  const filled = (value: number): StoredTensor => ({ type: 'F32', shape: [50_000], data: new Float32Array(50_000).fill(value) });
  await Promise.all(values.map((value) => writeSafetensors(path, new Map([['w', filled(value)]]))));
  const { tensors } = await readSafetensors(join(folder, 'real.safetensors'));
  const data = tensors.get('w')?.data as Float32Array;
  t.true(values.includes(data[0] as number));
  t.true(data.every((value) => value === data[0]));
  t.deepEqual((await readdir(folder)).sort(), ['last.safetensors', 'real.safetensors']);
});
