import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { parseNpy, readNpy, writeNpy } from '../../lib/checkpoint/npy.js';
import type { StoredTensor } from '../../lib/checkpoint/stored_tensor.js';
import { KernelWarehouseError } from '../../lib/errors.js';

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-npy-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function encode(header: string, data: Uint8Array = new Uint8Array(), version = 1): Uint8Array {
  const text = Buffer.from(header, version === 3 ? 'utf8' : 'latin1');
  const prefix = Buffer.alloc(version === 1 ? 10 : 12);
  prefix.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, version, 0]);
  if (version === 1) prefix.writeUInt16LE(text.length, 8);
  else prefix.writeUInt32LE(text.length, 8);
  return Buffer.concat([prefix, text, data]);
}

const dictionary = (descr: string, shape: string, fortran = 'False') =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }\n`;
const bytes = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

test('what is written is read again', async (t) => {
  const path = join(await temporaryFolder(t), 'array.npy');
  const tensors: StoredTensor[] = [
    { type: 'F32', shape: [2, 3], data: Float32Array.of(1, -2, 3.5, Number.NaN, Infinity, -0) },
    { type: 'F64', shape: [], data: Float64Array.of(Math.PI) },
    { type: 'I32', shape: [3], data: Int32Array.of(-1, 0, 2 ** 31 - 1) },
    { type: 'I64', shape: [1, 0, 2], data: new BigInt64Array() },
  ];
  for (const tensor of tensors) {
    await writeNpy(path, tensor);
    t.deepEqual(await readNpy(path), tensor);
  }
});

test('the written bytes are those of numpy.save', async (t) => {
  const path = join(await temporaryFolder(t), 'array.npy');
  await writeNpy(path, { type: 'F32', shape: [2], data: Float32Array.of(1, 2) });
  const written = await readFile(path);
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }".padEnd(117);
  t.deepEqual(
    written,
    Buffer.concat([Buffer.from('\x93NUMPY\x01\x00v\x00', 'latin1'), Buffer.from(`${header}\n`), bytes(Float32Array.of(1, 2))]),
  );
});

test('versions, byte orders, element types, quoting', (t) => {
  const one = { shape: [1] };
  t.like(parseNpy(encode(dictionary('<f4', '(1,)'), bytes(Float32Array.of(2)), 2), 'x'), { type: 'F32', ...one, data: Float32Array.of(2) });
  t.like(parseNpy(encode(dictionary('>f4', '(1,)'), Uint8Array.of(0x40, 0, 0, 0), 3), 'x'), {
    type: 'F32',
    ...one,
    data: Float32Array.of(2),
  });
  t.like(parseNpy(encode(dictionary('>i8', '(1,)'), Uint8Array.of(255, 255, 255, 255, 255, 255, 255, 254)), 'x'), {
    data: BigInt64Array.of(-2n),
  });
  t.like(parseNpy(encode(dictionary('>u2', '(2,)'), Uint8Array.of(1, 2, 3, 4)), 'x'), { type: 'U16', data: Uint16Array.of(258, 772) });
  t.like(parseNpy(encode(dictionary('<f2', '(1,)'), Uint8Array.of(0, 0x3c)), 'x'), { type: 'F16', data: Uint16Array.of(0x3c00) });
  t.like(parseNpy(encode(dictionary('|b1', '(2,)'), Uint8Array.of(1, 0)), 'x'), { type: 'BOOL', data: Uint8Array.of(1, 0) });
  t.like(parseNpy(encode(dictionary('|u1', '()'), Uint8Array.of(9)), 'x'), { type: 'U8', shape: [], data: Uint8Array.of(9) });
  t.like(parseNpy(encode(`{"shape": (1L,), "fortran_order": False,"descr":"|i1"}`, Uint8Array.of(255)), 'x'), { data: Int8Array.of(-1) });
});

test('an odd place in memory is no problem', (t) => {
  const file = encode(dictionary('<f8', '(1,)'), bytes(Float64Array.of(1.5)));
  const shifted = new Uint8Array(file.length + 1);
  shifted.set(file, 1);
  t.deepEqual(parseNpy(shifted.subarray(1), 'x').data, Float64Array.of(1.5));
});

test('column-major arrays come out row-major', (t) => {
  const shapes = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 });
  const property = fc.property(shapes, (shape) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const strides = shape.map((_, axis) => shape.slice(0, axis).reduce((product, size) => product * size, 1));
    const expected = new Int32Array(count);
    for (let flat = 0; flat < count; flat++) {
      let rest = flat;
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        expected[flat] = (expected[flat] as number) + (rest % (shape[axis] as number)) * (strides[axis] as number);
        rest = Math.floor(rest / (shape[axis] as number));
      }
    }
    const data = Int32Array.from({ length: count }, (_, i) => i);
    const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
    t.deepEqual(parseNpy(encode(dictionary('<i4', tuple, 'True'), bytes(data)), 'x').data, expected);
  });
  fc.assert(property, { numRuns: 60 });
});

const refused: readonly [string, Uint8Array, RegExp][] = [
  ['empty', new Uint8Array(), /not a \.npy file/],
  ['zip', Buffer.from('PK\x03\x04 and so on'), /not a \.npy file/],
  ['version 9', encode(dictionary('<f4', '(1,)'), new Uint8Array(4), 9), /version 9/],
  ['header cut', encode(dictionary('<f4', '(1,)')).subarray(0, 30), /cut short/],
  ['huge header', Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 2, 0, 255, 255, 255, 255), /at most 65536/],
  ['objects', encode(dictionary('|O', '(1,)'), new Uint8Array(8)), /Python objects/],
  ['strings', encode(dictionary('<U5', '(1,)'), new Uint8Array(20)), /element type "<U5"/],
  ['complex', encode(dictionary('<c8', '(1,)'), new Uint8Array(8)), /element type/],
  ['structured', encode(`{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }`, new Uint8Array(4)), /structured/],
  ['code', encode(`{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (1,)}`), /cannot be understood/],
  ['no dict', encode('[]'), /not a Python dict/],
  ['text behind', encode(`${dictionary('<f4', '(1,)').trim()} + 1`, new Uint8Array(4)), /cannot be understood/],
  ['a key twice', encode(`{'descr': '<f4', 'descr': '<f8', 'fortran_order': False, 'shape': (1,)}`), /twice/],
  ['a key too many', encode(`{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': True}`), /exactly/],
  ['a key missing', encode(`{'descr': '<f4', 'shape': (1,)}`), /exactly/],
  ['no tuple', encode(dictionary('<f4', '(1)'), new Uint8Array(4)), /tuple/],
  ['negative size', encode(dictionary('<f4', '(-1,)')), /cannot be understood/],
  ['empty size', encode(dictionary('<f4', '(1,,2)')), /not a size/],
  ['huge size', encode(dictionary('<f4', '(99999999999999999999,)')), /not a size/],
  ['product overflows', encode(dictionary('<f4', '(9999999999, 9999999999)')), /too large/],
  ['many dimensions', encode(dictionary('<f4', `(${'1,'.repeat(20_000)})`, 'True'), new Uint8Array(4)), /20000 dimensions/],
  ['data cut', encode(dictionary('<f4', '(2,)'), new Uint8Array(7)), /needs 8 bytes of data, the file has 7/],
  ['data left over', encode(dictionary('<f4', '(2,)'), new Uint8Array(9)), /needs 8 bytes of data, the file has 9/],
];

for (const [title, file, message] of refused) {
  test(`refused: ${title}`, (t) => {
    const error = t.throws(() => parseNpy(file, 'some.npy'), { instanceOf: KernelWarehouseError, code: 'ERR_KW_DATA' });
    t.true(error?.message.startsWith('some.npy: '), error?.message);
    t.regex(error?.message ?? '', message);
  });
}

test('changed bytes give an array or a typed error, never anything else', (t) => {
  const original = encode(dictionary('<f4', '(2, 3)', 'True'), new Uint8Array(24));
  const property = fc.property(fc.array(fc.tuple(fc.nat(original.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }), (changes) => {
    const file = Uint8Array.from(original);
    for (const [position, value] of changes) file[position] = value;
    try {
      parseNpy(file, 'x');
    } catch (error) {
      if (!(error instanceof KernelWarehouseError && error.code === 'ERR_KW_DATA')) throw error;
    }
  });
  fc.assert(property, { numRuns: 2000 });
  t.pass();
});

test('a missing file, a type that is not written, a shape that does not fit', async (t) => {
  const folder = await temporaryFolder(t);
  await t.throwsAsync(readNpy(join(folder, 'none.npy')), { code: 'ERR_KW_DATA', message: /ENOENT/ });
  await t.throwsAsync(writeNpy(join(folder, 'a.npy'), { type: 'BF16', shape: [1], data: new Uint16Array(1) }), { code: 'ERR_KW_DATA' });
  await t.throwsAsync(writeNpy(join(folder, 'a.npy'), { type: 'F32', shape: [2], data: new Float32Array(1) }), { code: 'ERR_KW_DATA' });
  t.deepEqual(await readdir(folder), []);
});
