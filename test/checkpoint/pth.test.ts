/** What torch.save writes comes out, tensor by tensor. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint_file.js';
import { convertCheckpoint } from '../../lib/checkpoint/convert.js';
import { writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { bytesOf, type StoredTensor, toFloat32 } from '../../lib/checkpoint/stored_tensor.js';
import { pickle, tensorPickle, torchCheckpoint, torchZip, zipFile } from './torch_file.js';

/** The sources' folder, from dist/test/checkpoint. */
const files = fileURLToPath(new URL('../../../test/checkpoint/files/', import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  uint8: 'U8',
  bool: 'BOOL',
};

interface Expected {
  readonly model: Readonly<
    Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly values: readonly number[] }>
  >;
  readonly epoch: number;
  readonly args: unknown;
}

async function written(t: ExecutionContext, bytes: Uint8Array, name = 'file.pth'): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-pth-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, name), bytes);
  return join(folder, name);
}

async function readAll(path: string): Promise<Map<string, StoredTensor>> {
  await using file = await openCheckpoint(path);
  const tensors = new Map<string, StoredTensor>();
  for (const name of file.names) tensors.set(name, await file.read(name));
  return tensors;
}

const values = (tensor: StoredTensor | undefined) => (tensor ? [...toFloat32(tensor)] : []);

for (const name of ['checkpoint.pth', 'checkpoint-legacy.pth', 'state-dict-module-prefix.pth']) {
  test(`golden: ${name}`, async (t) => {
    const expected = JSON.parse(await readFile(join(files, 'checkpoint.json'), 'utf8')) as Expected;
    await using file = await openCheckpoint(join(files, name));
    t.is(file.format, 'pth');
    t.deepEqual([...file.names], Object.keys(expected.model));
    for (const [tensor, { dtype, shape, values: numbers }] of Object.entries(expected.model)) {
      const found = await file.read(tensor);
      t.deepEqual({ type: found.type, shape: found.shape }, { type: TYPES[dtype] as never, shape });
      t.deepEqual({ ...file.entry(tensor) }, { type: found.type, shape: found.shape });
      t.deepEqual(Array.from(found.type === 'F64' ? (found.data as Float64Array) : toFloat32(found)), [...numbers], tensor);
    }
    const run = name.startsWith('state-dict') ? {} : { epoch: String(expected.epoch), args: JSON.stringify(expected.args) };
    t.deepEqual({ ...file.metadata }, run);
    t.false(file.has('module.conv.weight'));
    await t.throwsAsync(file.read('conv'), { code: 'ERR_KW_CHECKPOINT', message: /conv": no such tensor in the file/ });
  });
}

for (const name of ['protocol-2.pth', 'protocol-4.pth', 'no-crc.pth', 'legacy.pth']) {
  test(`views, strides and types of PyTorch itself: ${name}`, async (t) => {
    const tensors = await readAll(join(files, 'pytorch', name));
    t.deepEqual(values(tensors.get('weight')), [0, 1, 2, 3, 4, 5]);
    t.deepEqual(tensors.get('transposed')?.shape, [3, 2]);
    t.deepEqual(values(tensors.get('transposed')), [0, 3, 1, 4, 2, 5]);
    t.deepEqual(values(tensors.get('parameter')), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]);
    t.deepEqual(values(tensors.get('channels_last')), [...Array(48).keys()]);
    t.deepEqual(values(tensors.get('expanded')), [1.5, 1.5, 1.5]);
    t.deepEqual(tensors.get('row')?.data, Int16Array.of(3, 4, 5, 6));
    t.deepEqual(tensors.get('every_second')?.data, Float64Array.of(1, 3, 5, 7, 9));
    t.deepEqual(tensors.get('uint16')?.data, Uint16Array.of(1, 65535));
    t.deepEqual(tensors.get('uint32')?.data, Uint32Array.of(7, 4294967295));
    const bits = tensors.get('not_a_number')?.data as Float32Array;
    t.deepEqual(new Uint32Array(bits.buffer), Uint32Array.of(0x7fa00001, 0xffa00001));
  });
}

test('attributes, settings of any kind, and the moving average', async (t) => {
  const path = join(files, 'pytorch', 'attributes.pth');
  await using file = await openCheckpoint(path);
  t.deepEqual([...file.names], ['a', 'b']);
  t.deepEqual(values(await file.read('b')), [2, 2]);
  t.deepEqual(JSON.parse(file.metadata.args as string), {
    ...{ model: 'kw_resnet18', output_dir: '<pathlib.PosixPath>', device: '<torch.device>', dtype: 'torch.float32' },
    ...{ betas: null, big: '1180591620717411303424', nan: 'NaN' },
  });
  await using average = await openCheckpoint(path, { weights: 'model_ema' });
  t.deepEqual([...average.names], ['a']);
  t.deepEqual(values(await average.read('a')), [0, 0]);
  await t.throwsAsync(openCheckpoint(join(files, 'checkpoint.pth'), { weights: 'model_ema' }), {
    code: 'ERR_KW_CHECKPOINT',
    message: /no tensors under model_ema; it has "model", "optimizer", "epoch", "scaler", "args"$/,
  });
});

for (const [name, message] of [
  ['whole-module.pth', /it holds a whole "torch\.nn\.modules\.linear\.Linear", not its weights; .*model\.state_dict\(\)/],
  ['torchscript.pth', /a TorchScript program; .*state_dict\(\)/],
  ['complex.pth', /tensors of "torch\.ComplexFloatStorage"; read are DoubleStorage, /],
] as const) {
  test(`refused with the remedy: ${name}`, async (t) => {
    await t.throwsAsync(openCheckpoint(join(files, 'pytorch', name)), { code: 'ERR_KW_CHECKPOINT', message });
  });
}

test('the weights are where tensors are, and messages say what stands there instead', async (t) => {
  const { dict, text, int, global, tupleOf, reduce } = pickle;
  const one = dict([['w', tensorPickle({ key: '0', count: 1, shape: [1] })]]);
  const open = async (...entries: (readonly [string, Uint8Array])[]) => {
    await using file = await openCheckpoint(await written(t, torchZip(dict(entries), [bytesOf(Float32Array.of(7))])));
    return [...file.names];
  };
  t.deepEqual(await open(['state_dict', one], ['model', text('resnet18')]), ['w']);
  t.deepEqual(await open(['state_dict', one], ['model', dict([])]), ['w']);
  const array = Buffer.concat([global('numpy._core.multiarray', '_reconstruct'), tupleOf(int(0)), reduce]);
  for (const [entries, message] of [
    [[['model_ema', one]], /no tensors under model or state_dict; it has "model_ema"; for the moving average give --ema/],
    [[['model', dict([['a', array]])]], /no tensors under model, which has "a", NumPy arrays among them; .*torch\.from_numpy/],
    [[['a', array]], /no tensors under model or state_dict; it has "a", NumPy arrays among them; .*torch\.from_numpy/],
  ] as const) {
    await t.throwsAsync(open(...entries), { code: 'ERR_KW_CHECKPOINT', message });
  }
  await t.throwsAsync(openCheckpoint(await written(t, new Uint8Array())), { message: /file\.pth: the file is empty; copy or download/ });
});

test('an odd value among the settings does not cost the weights', async (t) => {
  const { dict, list, int } = pickle;
  const deep = Array.from({ length: 30 }).reduce<Buffer>((inner) => list(inner), int(1));
  const digits = Buffer.from(`L1${'0'.repeat(400)}L\n`);
  const value = dict([
    ['model', dict([['w', tensorPickle({ key: '0', count: 1, shape: [1] })]])],
    [
      'args',
      dict([
        ['long', int(2 ** 1000)],
        ['digits', digits],
        ['deep', deep],
        ['lr', int(3)],
      ]),
    ],
  ]);
  await using file = await openCheckpoint(await written(t, torchZip(value, [bytesOf(Float32Array.of(7))])));
  const { deep: nested, ...others } = JSON.parse(file.metadata.args as string) as Record<string, unknown>;
  t.deepEqual(others, { long: '<builtins.int>', digits: '<builtins.int>', lr: 3 });
  t.regex(JSON.stringify(nested), /^\[+"<too deep>"\]+$/);
});

test('tensors whose elements are not as stored are refused', async (t) => {
  const { dict, yes, no } = pickle;
  const read = async (metadata: Uint8Array) => {
    const value = dict([['w', tensorPickle({ key: '0', count: 1, shape: [1], metadata })]]);
    return values((await readAll(await written(t, torchZip(value, [bytesOf(Float32Array.of(7))])))).get('w'));
  };
  t.deepEqual(await read(dict([['neg', no]])), [7]);
  for (const bit of ['neg', 'conj']) {
    await t.throwsAsync(read(dict([[bit, yes]])), {
      code: 'ERR_KW_CHECKPOINT',
      message: new RegExp(`it has a tensor with the ${bit} bit, .*save tensor\\.resolve_${bit}\\(\\) instead$`),
    });
  }
});

test('prefixes of wrappers go when all names have them', async (t) => {
  const one: StoredTensor = { type: 'F32', shape: [1], data: Float32Array.of(7) };
  const names = async (...list: string[]) => {
    const path = await written(t, torchCheckpoint(new Map(list.map((name) => [name, one])), { epoch: 1 }));
    await using file = await openCheckpoint(path);
    t.deepEqual(values(await file.read(file.names[0] as string)), [7]);
    return [...file.names];
  };
  t.deepEqual(await names('module.a', 'module.b'), ['a', 'b']);
  t.deepEqual(await names('_orig_mod.module.a'), ['a']);
  t.deepEqual(await names('module.a', 'b'), ['module.a', 'b']);
  const safetensors = await written(t, new Uint8Array(), 'x.safetensors');
  await writeSafetensors(safetensors, new Map([['module.a', one]]));
  await using file = await openCheckpoint(safetensors);
  t.deepEqual([...file.names], ['a']);
});

test('content decides the format, not the name', async (t) => {
  const tensors = new Map<string, StoredTensor>([['a', { type: 'F32', shape: [1], data: Float32Array.of(7) }]]);
  const pth = await written(t, torchCheckpoint(tensors), 'x.safetensors');
  const safetensors = await written(t, new Uint8Array(), 'x.pth');
  await writeSafetensors(safetensors, tensors);
  // The first bytes of safetensors are a length: 0x80, for one, begins a pickle, too.
  for (let length = 0; length <= 200; length += 8) {
    const path = await written(t, new Uint8Array(), 'x.bin');
    await writeSafetensors(path, tensors, { padding: ' '.repeat(length) });
    await using file = await openCheckpoint(path);
    t.is(file.format, 'safetensors');
  }
  await using first = await openCheckpoint(pth);
  await using second = await openCheckpoint(safetensors);
  t.deepEqual([first.format, second.format], ['pth', 'safetensors']);
  await t.throwsAsync(openCheckpoint(safetensors, { weights: 'model_ema' }), { message: /a safetensors file, which has no model_ema/ });
});

test('zip64 sizes, a comment, and sizes behind the data are read', async (t) => {
  const data = tensorPickle({ key: '0', count: 2, shape: [2] });
  const parts = [
    { name: 'a/data.pkl', data: Buffer.concat([pickle.proto, pickle.dict([['w', data]]), pickle.stop]), zip64: true },
    { name: 'a/data/0', data: bytesOf(Float32Array.of(1, 2)), lies: { flags: 0x808, localSize: 0 } },
  ];
  const path = await written(t, zipFile(parts, { zip64: true, comment: 'PK is how it begins' }));
  t.deepEqual(values((await readAll(path)).get('w')), [1, 2]);
});

test('containers and state that training scripts save beside the weights', async (t) => {
  const { dict, text, int, global, tupleOf, reduce, emptyTuple, list, newObject, build } = pickle;
  const state = dict([['w', tensorPickle({ key: '0', count: 1, shape: [] })]]);
  const value = dict([
    ['state_dict', state],
    ['counter', Buffer.concat([global('collections', 'Counter'), tupleOf(dict([['10', int(1)]])), reduce])],
    ['group', Buffer.concat([global('collections', 'defaultdict'), tupleOf(global('builtins', 'list')), reduce])],
    ['pairs', Buffer.concat([global('collections', 'OrderedDict'), tupleOf(list(tupleOf(text('a'), int(1)))), reduce])],
    ['scaler', Buffer.concat([global('my.training', 'Scaler'), emptyTuple, newObject, dict([['scale', int(2)]]), build])],
    ['size', Buffer.concat([global('torch', 'Size'), tupleOf(tupleOf(int(2))), reduce])],
    ['function', global('os', 'system')],
  ]);
  const tensors = await readAll(await written(t, torchZip(value, [bytesOf(Float32Array.of(3))])));
  t.deepEqual([...tensors.keys()], ['w']);
  t.deepEqual(values(tensors.get('w')), [3]);
});

test('conversion keeps names, types, bits and what is known', async (t) => {
  for (const name of ['checkpoint.pth', 'pytorch/protocol-2.pth']) {
    const out = await written(t, new Uint8Array(), 'out.safetensors');
    await using source = await openCheckpoint(join(files, name));
    const { tensors } = await convertCheckpoint(source, out, { extra: 'known' });
    t.is(tensors, source.names.length);
    await using copy = await openCheckpoint(out);
    t.deepEqual({ ...copy.metadata }, { ...source.metadata, extra: 'known' });
    t.deepEqual([...copy.names].sort(), [...source.names].sort());
    for (const tensor of source.names) {
      const [a, b] = [await source.read(tensor), await copy.read(tensor)];
      t.deepEqual([a.type, a.shape, Buffer.from(bytesOf(a.data))], [b.type, b.shape, Buffer.from(bytesOf(b.data))], tensor);
    }
  }
});
