/** Foreign bytes: every failure is one line, in bounded time and memory, and leaves no trace. */
import { existsSync, readdirSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import fc from 'fast-check';
import { openCheckpoint } from '../../lib/checkpoint/checkpoint_file.js';
import { writeSafetensors } from '../../lib/checkpoint/safetensors.js';
import { bytesOf } from '../../lib/checkpoint/stored_tensor.js';
import { KernelWarehouseError } from '../../lib/errors.js';
import { pickle, type TensorPickle, tensorPickle, torchZip, type ZipOptions, type ZipPart, zipFile } from './torch_file.js';

const files = fileURLToPath(new URL('../../../test/checkpoint/files/', import.meta.url));
/** What the hostile files of the test data would make. */
const TRACE = '/tmp/kernel-warehouse-was-here';

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'kw-hostile-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function readAll(path: string): Promise<void> {
  await using file = await openCheckpoint(path);
  for (const name of file.names) await file.read(name);
}

const { proto, stop, text, int, global, tupleOf, list, dict, reduce, emptyTuple, emptyList, emptyDict, persistent, newObject, put, get } =
  pickle;
const weight: TensorPickle = { key: '0', count: 2, shape: [2] };
const eight = bytesOf(Float32Array.of(1, 2));
const model = (value: Uint8Array) => dict([['model', dict([['w', value]])]]);
const withTensor = (changes: Partial<TensorPickle>) => torchZip(model(tensorPickle({ ...weight, ...changes })), [eight]);
const withPickle = (...parts: Uint8Array[]) => torchZip(Buffer.concat(parts), [eight]);
const call = (module: string, name: string, ...values: Uint8Array[]) => Buffer.concat([global(module, name), tupleOf(...values), reduce]);

const data = Buffer.concat([proto, model(tensorPickle(weight)), stop]);
const good: readonly ZipPart[] = [
  { name: 'a/data.pkl', data },
  { name: 'a/data/0', data: eight },
];
/** The good zip with the second entry or the directory lying. */
const lying = (lies: ZipPart['lies'], options: ZipOptions = {}) =>
  zipFile([good[0] as ZipPart, { ...(good[1] as ZipPart), ...(lies ? { lies } : {}) }], options);
const named = (name: string | Uint8Array) => zipFile([...good, { name, data: new Uint8Array() }]);

const zips: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['cut in the directory', lying({}).subarray(0, -30), /cut short: a zip file whose directory/],
  ['entry twice', zipFile([...good, good[1] as ZipPart]), /zip entry "a\/data\/0" twice/],
  ['local name differs', lying({ localName: 'a/data/1' }), /"a\/data\/0" does not agree with the directory/],
  ['local size differs', lying({ localSize: 4 }), /does not agree with the directory/],
  ['no local size, though it is not behind the data', lying({ localSize: 0 }), /does not agree with the directory/],
  ['local method differs', lying({ localMethod: 8 }), /does not agree with the directory/],
  ['a header that is none', lying({ headerOffset: 3 }), /does not agree|overlaps/],
  ['header beyond the directory', lying({ headerOffset: 0x7fffffff }), /does not agree with the directory/],
  ['two entries in one place', lying({ headerOffset: 0 }), /overlaps another one/],
  ['stored and real size differ', lying({ stored: 8, size: 9 }), /8 bytes stored but says 9/],
  ['4 GiB in 8 bytes', lying({ stored: 0xfffffffe, size: 0xfffffffe, localSize: 0xfffffffe }), /claims 4294967294 bytes/],
  ['compressed', lying({ method: 8 }), /"a\/data\/0" is compressed; unpack/],
  ['encrypted', lying({ flags: 1 }), /encrypted/],
  ['fewer entries than it says', lying({}, { lies: { count: 3 } }), /has 2 entries but says 3/],
  ['directory outside', lying({}, { lies: { directoryStart: 0x7fffffff } }), /directory lies outside/],
  ['directory elsewhere', lying({}, { lies: { directoryStart: 1 } }), /directory is damaged/],
  ['several disks', lying({}, { lies: { disk: 1 } }), /several parts/],
  ['two directories', lying({}, { zip64: true, lies: { start64: 1 } }), /two zip directories disagree/],
  ['a directory of 2^60 bytes', lying({}, { zip64: true, lies: { directoryStart: 0xffffffff, start64: 2 ** 60 } }), /lies outside/],
  ['zip64 sizes that are missing', lying({ stored: 0xffffffff, size: 0xffffffff }), /zip64 sizes of its entry "a\/data\/0" are missing/],
  ['a path upwards', named('a/../../etc/passwd'), /name that torch\.save does not write/],
  ['an absolute path', named('/etc/passwd'), /name that torch\.save does not write/],
  ['backslashes', named('a\\b'), /name that torch\.save does not write/],
  ['a zero byte', named('a/b\0c'), /name that torch\.save does not write/],
  ['a name that is not text', named(Uint8Array.of(0x61, 0xff)), /not UTF-8/],
  ['no pickle', zipFile([{ name: 'a/b', data: eight }]), /no single data\.pkl/],
  ['two pickles', zipFile([...good, { name: 'b/data.pkl', data }]), /no single data\.pkl/],
  ['no storage', zipFile([good[0] as ZipPart]), /the bytes of its storage "0" are missing/],
  [
    'storage too small',
    zipFile([good[0] as ZipPart, { name: 'a/data/0', data: eight.subarray(4) }]),
    /should have 8 bytes, the file has 4/,
  ],
  ['big-endian', zipFile([...good, { name: 'a/byteorder', data: Buffer.from('big') }]), /big-endian/],
  ['only the start of a zip', Buffer.from('PK\x03\x04'), /cut short/],
];

const manyMarks = Buffer.alloc(1_000_000, '(');
const doubling = Buffer.concat([
  ...[text('x'), list(), put(0)],
  ...Array.from({ length: 40 }, (_, i) => Buffer.concat([list(get(i), get(i)), put(i + 1)])),
]);

const pickles: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['builtins.eval', withPickle(model(call('builtins', 'eval', text('1')))), /would call "builtins\.eval", which here is never done/],
  ['subprocess.Popen', withPickle(model(call('subprocess', 'Popen', text('true')))), /would call "subprocess\.Popen"/],
  ['a name with a line of its own', withPickle(model(call('a b', 'c\x1b[2J', text('true')))), /would call "a\.b c\\u001b\[2J"/],
  ['a call of what is no name', withPickle(text('f'), emptyTuple, reduce), /calls something that cannot be called/],
  ['an object of what is no class', withPickle(text('f'), emptyTuple, newObject), /object from something that is not a class/],
  ['INST of a class', withPickle(Buffer.from('(ios\nsystem\n')), /would call "os\.system"/],
  ['OBJ of a class', withPickle(Buffer.from('('), global('os', 'system'), Buffer.from('o')), /would call "os\.system"/],
  [
    'a tensor subclass',
    withPickle(call('torch._tensor', '_rebuild_from_type_v2', global('os', 'system'), tupleOf(), tupleOf())),
    /subclass/,
  ],
  [
    'a tensor of no storage',
    withPickle(call('torch._utils', '_rebuild_tensor_v2', text('s'), int(0), tupleOf(), tupleOf())),
    /tensor from something that is not a storage/,
  ],
  [
    'a parameter of no tensor',
    withPickle(call('torch._utils', '_rebuild_parameter', text('s'))),
    /parameter from something that is not a tensor/,
  ],
  [
    'an unknown storage',
    withPickle(tupleOf(text('storage'), global('torch', 'QInt8Storage'), text('0'), text('cpu'), int(8)), persistent),
    /QInt8Storage/,
  ],
  ['a reference to something else', withPickle(tupleOf(text('module'), text('x')), persistent), /that is no storage/],
  ['a storage with a path', withTensor({ key: '../../version' }), /storage "\.\.\/\.\.\/version" are missing/],
  ['a storage larger than its entry', withTensor({ count: 2 ** 40 }), /should have 4398046511104 bytes, the file has 8/],
  ['a negative count', withTensor({ count: -1 }), /that is no storage/],
  ['a shape outside the storage', withTensor({ shape: [3] }), /\[3\] that reaches outside its storage of 2 elements/],
  ['an offset outside the storage', withTensor({ offset: 1 }), /reaches outside/],
  ['a stride outside the storage', withTensor({ strides: [2] }), /reaches outside/],
  ['a huge stride', withTensor({ strides: [2 ** 52] }), /reaches outside/],
  ['a negative stride', withTensor({ strides: [-1], offset: 1 }), /whole numbers >= 0/],
  ['a negative size', withTensor({ shape: [-2] }), /whole numbers >= 0/],
  ['fewer strides than sizes', withTensor({ strides: [] }), /whole numbers >= 0/],
  ['a hundred dimensions', withTensor({ shape: Array(100).fill(1) }), /too many/],
  ['a shape beyond all numbers', withTensor({ shape: [2 ** 40, 2 ** 40], strides: [0, 0] }), /too large/],
  ['terabytes by strides of zero', withTensor({ shape: [2 ** 40], strides: [0] }), /claim 4398046511104 bytes, which \d+ bytes of file/],
  [
    'terabytes by sharing',
    torchZip(dict(Array.from({ length: 200 }, (_, i) => [String(i), tensorPickle({ key: '0', count: 65536, shape: [65536] })])), [
      new Uint8Array(4 * 65536),
    ]),
    /claim 52428800 bytes/,
  ],
  ['no tensors', withPickle(dict([['model', dict([])]])), /no tensors under model, which has nothing$/],
  ['a list', withPickle(emptyList), /no dict of tensors/],
  ['nothing on the stack', withPickle(Buffer.from('0')), /empty stack/],
  ['a value from below a mark', withPickle(emptyList, Buffer.from('('), Buffer.from('a')), /empty stack/],
  ['a mark that is missing', withPickle(Buffer.from('t')), /no mark/],
  ['a key without a value', withPickle(emptyDict, Buffer.from('('), text('k'), Buffer.from('u')), /key without a value/],
  ['items of a list', withPickle(emptyList, text('k'), text('v'), Buffer.from('s')), /items of something that is not a dict/],
  ['appended to a text', withPickle(text('k'), text('v'), Buffer.from('a')), /appends to something that is not a list/],
  ['added to a list', withPickle(emptyList, Buffer.from('('), Buffer.of(0x90)), /adds to something that is not a set/],
  ['a memo that is empty', withPickle(get(4_000_000_000)), /value 4000000000 that it has not stored/],
  ['an unknown operation', withPickle(Buffer.of(0xff)), /unknown operation 0xff/],
  ['an extension', withPickle(Buffer.of(0x82, 1)), /extension registry/],
  ['a buffer from outside', withPickle(Buffer.of(0x97)), /buffer from outside/],
  ['a persistent id as text', withPickle(Buffer.from('Px\n')), /persistent id as text/],
  ['protocol 6', withPickle(Buffer.of(0x80, 6)), /protocol 6; protocols up to 5/],
  ['a text longer than the file', withPickle(Buffer.from('X\xff\xff\xff\xff', 'latin1')), /cut short/],
  ['a text of 2^63 bytes', withPickle(Buffer.of(0x8d, 0, 0, 0, 0, 0, 0, 0, 0x80)), /a length of 9223372036854775808/],
  ['a whole number of 4 GB', withPickle(Buffer.from('\x8b\xff\xff\xff\xff', 'latin1')), /cut short/],
  ['a long number in digits', withPickle(Buffer.from(`L${'9'.repeat(3000)}L\n`)), /it holds a whole "builtins\.int", not its weights/],
  ['a long number for a size', withTensor({ shape: [2 ** 600] }), /whole numbers >= 0/],
  ['a line without an end', withPickle(Buffer.alloc(10_000, 'I')), /line of more than/],
  ['an index that is no number', withPickle(text('a'), Buffer.from('p-1\n')), /for an index/],
  ['a number that is none', withPickle(Buffer.from('F0x1\n')), /for a number/],
  ['names that are not text', withPickle(int(1), int(2), Buffer.of(0x93)), /not text/],
  ['an OrderedDict of no pairs', withPickle(call('collections', 'OrderedDict', text('x'))), /no pairs/],
  ['a million marks', withPickle(manyMarks), /cut short|empty stack/],
  ['endless operations', withPickle(Buffer.concat(Array(2_600_000).fill(Buffer.from('N0')))), /more than 5000000 operations/],
  ['deep nesting', withPickle(Buffer.concat([...Array(200_000).fill(emptyList), Buffer.alloc(199_999, 'a')])), /no dict of tensors/],
  [
    'args that double forty times',
    withPickle(
      dict([['model', dict([['w', tensorPickle(weight)]])]]),
      text('args'),
      Buffer.concat([emptyDict, Buffer.from('('), doubling, Buffer.from('us')]),
    ),
    /args have more than 10000 values/,
  ],
  [
    'args with a long text many times',
    withPickle(
      dict([
        ['model', dict([['w', tensorPickle(weight)]])],
        ['text', Buffer.concat([text('x'.repeat(100_000)), put(0)])],
        ['args', dict(Array.from({ length: 100 }, (_, i) => [String(i), get(0)]))],
      ]),
    ),
    /args have more than 1000000 characters/,
  ],
  [
    'bytes behind the end',
    zipFile([{ name: 'a/data.pkl', data: Buffer.concat([data, stop]) }, good[1] as ZipPart]),
    /ends before its bytes do/,
  ],
  ['no end', zipFile([{ name: 'a/data.pkl', data: data.subarray(0, -1) }, good[1] as ZipPart]), /its pickle is cut short/],
];

const tar = Buffer.alloc(1024);
tar.write('sys_info', 0);
tar.write('ustar', 257);

const others: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ['a tar archive', tar, /PyTorch 0\.1, a tar archive; open it with PyTorch/],
  ['another pickle', Buffer.concat([proto, emptyDict, stop, Buffer.alloc(9)]), /a Python pickle, but not one that torch\.save wrote/],
  ['text', Buffer.from('this is not a checkpoint at all'), /neither a safetensors file nor one that torch\.save wrote/],
  ['nothing', Buffer.alloc(0), /the file is empty/],
];

for (const [title, bytes, message] of [...zips, ...pickles, ...others]) {
  test(`refused: ${title}`, async (t) => {
    const path = join(await temporaryFolder(t), 'bad.pth');
    await writeFile(path, bytes);
    const error = await t.throwsAsync(readAll(path), { instanceOf: KernelWarehouseError, code: 'ERR_KW_CHECKPOINT' });
    t.true(error?.message.startsWith(path), error?.message);
    t.regex(error?.message ?? '', message);
    t.false(/[\p{Cc}\u2028]/u.test(error?.message ?? ''), 'one line');
  });
}

test('a million zip entries or a pickle of gigabytes are refused before they are read', async (t) => {
  const path = join(await temporaryFolder(t), 'large.pth');
  // A sparse file: the size is true, but the disk holds nothing.
  const end = lying({}, { lies: { directoryBytes: 0x7ffffff0, directoryStart: 4 } });
  await writeFile(path, 'PK\x03\x04');
  await truncate(path, 2 ** 31 + 2 ** 20);
  await writeFile(path, end.subarray(-22), { flag: 'a' });
  await t.throwsAsync(readAll(path), {
    code: 'ERR_KW_CHECKPOINT',
    message: /zip directory has 2147483632 bytes; at most 8388608 are read/,
  });
});

test('a safetensors header of many megabytes of brackets ends in bounded memory', async (t) => {
  const path = join(await temporaryFolder(t), 'brackets.safetensors');
  const header = Buffer.alloc(16 * 1024 * 1024, '[');
  header.write('{"a":');
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFile(path, Buffer.concat([length, header]));
  await t.throwsAsync(readAll(path), { code: 'ERR_KW_CHECKPOINT', message: /not valid JSON/ });
});

test('keys that mean something in JavaScript are only keys', async (t) => {
  const path = join(await temporaryFolder(t), 'keys.pth');
  const args = dict([
    ['__proto__', dict([['polluted', int(1)]])],
    ['constructor', int(2)],
  ]);
  const tensors = dict([
    ['__proto__', tensorPickle(weight)],
    ['toString', tensorPickle(weight)],
  ]);
  await writeFile(
    path,
    torchZip(
      dict([
        ['model', tensors],
        ['__proto__', dict([['polluted', int(1)]])],
        ['args', args],
      ]),
      [eight],
    ),
  );
  await using file = await openCheckpoint(path);
  t.deepEqual([...file.names], ['__proto__', 'toString']);
  t.deepEqual((await file.read('__proto__')).data, Float32Array.of(1, 2));
  t.is(file.metadata.args, '{"__proto__":{"polluted":1},"constructor":2}');
  t.is(({} as { polluted?: number }).polluted, undefined);
});

test('legacy files that lie', async (t) => {
  const folder = await temporaryFolder(t);
  const whole = await readFile(join(files, 'checkpoint-legacy.pth'));
  const refused = async (bytes: Uint8Array, message: RegExp) => {
    const path = join(folder, 'legacy.pth');
    await writeFile(path, bytes);
    await t.throwsAsync(readAll(path), { code: 'ERR_KW_CHECKPOINT', message });
  };
  await refused(whole.subarray(0, 1000), /cut short: it ends inside its pickles/);
  await refused(whole.subarray(0, -1), /cut short: storage "\d+" of \d+ bytes reaches beyond the end/);
  await refused(Buffer.concat([whole, Buffer.of(0)]), /1 bytes at its end belong to no storage/);
  const counted = Buffer.from(whole);
  counted.writeUInt8(55, whole.length - 8 - 24);
  await refused(counted, /has 55 elements, but its tensors say 6/);
  const version = Buffer.from(whole);
  version.writeUInt16LE(1000, whole.indexOf(Buffer.from([0x4d, 0xe9, 0x03])) + 1);
  await refused(version, /its format has version 1000; 1001 is known/);
});

test('the hostile files of the test data leave no trace', async (t) => {
  const handles = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0);
  const before = handles();
  for (const [name, message] of [
    ['evil-eval.pth', /would call "__builtin__\.eval"/],
    ['evil-system.pth', /would call "posix\.system"/],
    ['truncated.pth', /cut short/],
  ] as const) {
    for (let i = 0; i < 20; i++) await t.throwsAsync(readAll(join(files, name)), { code: 'ERR_KW_CHECKPOINT', message });
  }
  t.true(handles() <= before + 2, 'files are closed');
  t.false(existsSync(TRACE));
});

// Mutations of real files. The number of runs is bounded for CI; FUZZ_RUNS asks for more.
const runs = Number(process.env.FUZZ_RUNS ?? 150);

const place = fc.noBias(fc.nat(999_999)).map((millionths) => millionths / 1_000_000);

/** Data, so that a failure can be shown. Places are parts of the whole. */
const mutation = fc.record({
  kind: fc.constantFrom('replace', 'replace', 'replace', 'flip', 'cut', 'insert', 'remove', 'repeat'),
  at: place,
  from: place,
  count: fc.nat(40),
  value: fc.nat(255),
});

function mutated(
  bytes: Buffer,
  { kind, at, from, count, value }: { kind: string; at: number; from: number; count: number; value: number },
): Buffer {
  const place = Math.floor(at * bytes.length);
  const start = Math.floor(from * bytes.length);
  const joined = (middle: Uint8Array, next: number) => Buffer.concat([bytes.subarray(0, place), middle, bytes.subarray(next)]);
  switch (kind) {
    case 'replace':
      return joined(Buffer.of(value), place + 1);
    case 'flip':
      return joined(Buffer.of((bytes[place] ?? 0) ^ (1 << (value % 8))), place + 1);
    case 'cut':
      return bytes.subarray(0, place);
    case 'insert':
      return joined(Buffer.alloc(count % 9, value), place);
    case 'remove':
      return joined(Buffer.alloc(0), place + count);
    default:
      return joined(bytes.subarray(start, start + count), place);
  }
}

/** The pickle of a zip file of PyTorch, found without our reader. */
function pickleOf(file: Buffer): Buffer {
  const end = file.indexOf(Buffer.from('PK\x07\x08', 'latin1'));
  return file.subarray(file.indexOf(Buffer.from([0x80, 0x02])), end);
}

test('changed bytes of real files give tensors or a typed error, never anything else', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'mutated');
  const safetensors = join(folder, 'real.safetensors');
  await writeSafetensors(safetensors, new Map([['w', { type: 'F32', shape: [2], data: Float32Array.of(1, 2) }]]), { a: 'b' });
  const zip = await readFile(join(files, 'checkpoint.pth'));
  const storages = [54, 24, 5, 5, 4, 1, 3, 4, 0, 1, 6, 3].map(
    (count, i) => new Uint8Array(count * ([4, 4, 2, 2, 8, 8, 1, 1, 4, 4, 4, 4][i] as number)),
  );
  const pickleBytes = pickleOf(zip).subarray(2, -1);
  t.is(pickleBytes.at(-1), 0x75, 'the pickle was found: it ends with SETITEMS');
  const kinds: Readonly<Record<string, readonly [Buffer, (bytes: Buffer) => Buffer]>> = {
    zip: [zip, (bytes) => bytes],
    legacy: [await readFile(join(files, 'checkpoint-legacy.pth')), (bytes) => bytes],
    protocol4: [await readFile(join(files, 'pytorch', 'protocol-4.pth')), (bytes) => bytes],
    safetensors: [await readFile(safetensors), (bytes) => bytes],
    // The pickle alone, in a zip that is right, so that changes reach the unpickler.
    pickle: [pickleBytes, (bytes) => torchZip(bytes, storages)],
  };
  const names = Object.keys(kinds);
  let read = 0;
  const property = fc.asyncProperty(
    fc.constantFrom(...names),
    fc.array(mutation, { minLength: 1, maxLength: 4 }),
    async (name, changes) => {
      const [bytes, wrap] = kinds[name] as (typeof kinds)[string];
      await writeFile(path, wrap(changes.reduce(mutated, bytes)));
      const begun = process.cpuUsage();
      try {
        await readAll(path);
        read += 1;
      } catch (error) {
        if (!(error instanceof KernelWarehouseError) || error.code !== 'ERR_KW_CHECKPOINT' || /\p{Cc}/u.test(error.message)) {
          throw new Error(`expected a typed error in one line: ${error instanceof Error ? error.stack : error}`);
        }
      }
      if (process.cpuUsage(begun).user > 5e6) throw new Error('took too long');
    },
  );
  await fc.assert(property, { numRuns: runs * names.length, includeErrorInReport: true });
  t.true(read > 0, 'some changes do no harm');
  t.deepEqual((await readdir(folder)).sort(), ['mutated', 'real.safetensors']);
  t.false(existsSync(TRACE));
});
