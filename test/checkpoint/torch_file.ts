/** Writes files as torch.save does, and files that only look like it: a zip of stored entries, and pickles put together by hand. */
import { bytesOf, type StoredTensor, type StoredType } from '../../lib/checkpoint/stored_tensor.js';

export interface ZipPart {
  readonly name: string | Uint8Array;
  readonly data: Uint8Array;
  /** What the headers say instead of the truth. */
  readonly lies?: Partial<Record<'localSize' | 'size' | 'stored' | 'flags' | 'method' | 'localMethod' | 'headerOffset', number>> & {
    readonly localName?: string;
  };
  /** Sizes in a zip64 field. */
  readonly zip64?: boolean;
}

export interface ZipOptions {
  readonly zip64?: boolean;
  readonly lies?: Partial<Record<'count' | 'directoryBytes' | 'directoryStart' | 'disk' | 'count64' | 'start64', number>>;
  readonly comment?: string;
}

const u16 = (value: number) => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
};
const u32 = (value: number) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

/** A zip file of stored entries; checksums are 0, which PyTorch may write, too. */
export function zipFile(parts: readonly ZipPart[], { zip64 = false, lies = {}, comment = '' }: ZipOptions = {}): Buffer {
  const pieces: Buffer[] = [];
  const central: Buffer[] = [];
  let offset = 0;
  for (const { name: text, data, lies: lie = {}, zip64: long = false } of parts) {
    const name = Buffer.from(text as string);
    const localName = Buffer.from(lie.localName ?? name);
    const { flags = 0, method = 0, size = data.length, stored = data.length } = lie;
    const header = Buffer.concat([
      ...[u32(0x04034b50), u16(0), u16(flags), u16(lie.localMethod ?? method), u32(0), u32(0)],
      ...[u32(long ? 0xffffffff : (lie.localSize ?? stored)), u32(long ? 0xffffffff : (lie.localSize ?? size))],
      ...[u16(localName.length), u16(0), localName],
    ]);
    const headerOffset = lie.headerOffset ?? offset;
    const extra = long ? Buffer.concat([u16(1), u16(24), u64(size), u64(stored), u64(headerOffset)]) : Buffer.alloc(0);
    const short = (value: number) => u32(long ? 0xffffffff : value);
    central.push(
      Buffer.concat([
        ...[u32(0x02014b50), u16(0), u16(0), u16(flags), u16(method), u32(0), u32(0), short(stored), short(size)],
        ...[u16(name.length), u16(extra.length), u16(0), u16(0), u16(0), u32(0), short(headerOffset), name, extra],
      ]),
    );
    pieces.push(header, Buffer.from(data));
    offset += header.length + data.length;
  }
  const directory = Buffer.concat(central);
  const count = lies.count ?? parts.length;
  const bytes = lies.directoryBytes ?? directory.length;
  const start = lies.directoryStart ?? offset;
  const record = Buffer.concat([
    ...[u32(0x06064b50), u64(44), u16(45), u16(45), u32(0), u32(0), u64(lies.count64 ?? count), u64(lies.count64 ?? count), u64(bytes)],
    ...[u64(lies.start64 ?? start), u32(0x07064b50), u32(0), u64(offset + directory.length), u32(1)],
  ]);
  const end = Buffer.concat([
    ...[u32(0x06054b50), u16(lies.disk ?? 0), u16(0), u16(count), u16(count), u32(bytes), u32(start)],
    ...[u16(comment.length), Buffer.from(comment)],
  ]);
  return Buffer.concat([...pieces, directory, ...(zip64 ? [record] : []), end]);
}

/** Pieces of pickles, by the names of Python's pickletools. */
export const pickle = {
  proto: Buffer.of(0x80, 2),
  stop: Buffer.from('.'),
  mark: Buffer.from('('),
  tuple: Buffer.from('t'),
  emptyTuple: Buffer.from(')'),
  emptyList: Buffer.from(']'),
  emptyDict: Buffer.from('}'),
  setItems: Buffer.from('u'),
  append: Buffer.from('a'),
  reduce: Buffer.from('R'),
  build: Buffer.from('b'),
  newObject: Buffer.of(0x81),
  persistent: Buffer.from('Q'),
  none: Buffer.from('N'),
  yes: Buffer.of(0x88),
  no: Buffer.of(0x89),
  text: (text: string) => Buffer.concat([Buffer.from('X'), u32(Buffer.byteLength(text)), Buffer.from(text)]),
  int: (value: number) => {
    if (value >= 0 && value < 0x80000000) return Buffer.concat([Buffer.from('J'), u32(value)]);
    const size = Math.abs(value) < 2 ** 62 ? 8 : 200;
    const digits = BigInt.asUintN(8 * size, BigInt(value))
      .toString(16)
      .padStart(2 * size, '0');
    return Buffer.concat([Buffer.of(0x8a, size), Buffer.from(digits, 'hex').reverse()]);
  },
  global: (module: string, name: string) => Buffer.from(`c${module}\n${name}\n`),
  put: (index: number) => Buffer.concat([Buffer.from('r'), u32(index)]),
  get: (index: number) => Buffer.concat([Buffer.from('j'), u32(index)]),
  list: (...values: Uint8Array[]) => Buffer.concat([Buffer.from('('), ...values, Buffer.from('l')]),
  tupleOf: (...values: Uint8Array[]) => Buffer.concat([Buffer.from('('), ...values, Buffer.from('t')]),
  dict: (entries: readonly (readonly [string, Uint8Array])[]) =>
    Buffer.concat([Buffer.from('}('), ...entries.flatMap(([key, value]) => [pickle.text(key), value]), Buffer.from('u')]),
};

const STORAGE_CLASSES: Partial<Record<StoredType, string>> = {
  F64: 'DoubleStorage',
  F32: 'FloatStorage',
  F16: 'HalfStorage',
  BF16: 'BFloat16Storage',
  I64: 'LongStorage',
  I32: 'IntStorage',
  I16: 'ShortStorage',
  I8: 'CharStorage',
  U8: 'ByteStorage',
  BOOL: 'BoolStorage',
};

export interface TensorPickle {
  readonly type?: StoredType;
  readonly key: string;
  /** Elements of the storage. */
  readonly count: number;
  readonly shape: readonly number[];
  readonly strides?: readonly number[];
  readonly offset?: number;
  /** The seventh value, since PyTorch 2. */
  readonly metadata?: Uint8Array;
}

export function rowMajor(shape: readonly number[]): number[] {
  return shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
}

/** A tensor as torch.save pickles it. */
export function tensorPickle({ type = 'F32', key, count, shape, strides = rowMajor(shape), offset = 0, metadata }: TensorPickle): Buffer {
  const { tupleOf, text, int, global } = pickle;
  const storage = tupleOf(text('storage'), global('torch', STORAGE_CLASSES[type] as string), text(key), text('cpu'), int(count));
  return Buffer.concat([
    global('torch._utils', '_rebuild_tensor_v2'),
    tupleOf(
      ...[Buffer.concat([storage, pickle.persistent]), int(offset), tupleOf(...shape.map(int)), tupleOf(...strides.map(int)), pickle.no],
      Buffer.concat([global('collections', 'OrderedDict'), pickle.emptyTuple, pickle.reduce]),
      ...(metadata ? [metadata] : []),
    ),
    pickle.reduce,
  ]);
}

/** A zip file with this pickle and these storages. */
export function torchZip(value: Uint8Array, storages: readonly Uint8Array[] = [], options: ZipOptions = {}): Buffer {
  const parts = [
    { name: 'archive/data.pkl', data: Buffer.concat([pickle.proto, value, pickle.stop]) },
    { name: 'archive/byteorder', data: Buffer.from('little') },
    ...storages.map((data, key) => ({ name: `archive/data/${key}`, data })),
    { name: 'archive/version', data: Buffer.from('3\n') },
  ];
  return zipFile(parts, options);
}

export type Settings = Readonly<Record<string, string | number | readonly string[]>>;

/** A training script's checkpoint, or a bare state dict without `rest`. */
export function torchCheckpoint(
  tensors: ReadonlyMap<string, StoredTensor>,
  rest?: { readonly epoch?: number; readonly args?: Settings; readonly ema?: ReadonlyMap<string, StoredTensor> },
): Buffer {
  const storages: Uint8Array[] = [];
  const stateDict = (entries: ReadonlyMap<string, StoredTensor>): Buffer => {
    const items = [...entries].map(([name, { type, shape, data }]) => {
      const key = String(storages.push(bytesOf(data)) - 1);
      return [name, tensorPickle({ type, key, count: data.length, shape })] as const;
    });
    const { global, emptyTuple, reduce, mark, text, setItems } = pickle;
    const pairs = items.flatMap(([name, tensor]) => [text(name), tensor]);
    return Buffer.concat([global('collections', 'OrderedDict'), emptyTuple, reduce, mark, ...pairs, setItems]);
  };
  if (!rest) return torchZip(stateDict(tensors), storages);
  const { epoch, args, ema } = rest;
  const fields: [string, Uint8Array][] = [['model', stateDict(tensors)]];
  if (ema) fields.push(['model_ema', stateDict(ema)]);
  if (epoch !== undefined) fields.push(['epoch', pickle.int(epoch)]);
  if (args) fields.push(['args', namespace(args)]);
  return torchZip(pickle.dict(fields), storages);
}

function namespace(args: Settings): Buffer {
  const { text, int, list, dict, global, emptyTuple, newObject, build } = pickle;
  const plain = (value: Settings[string]): Buffer => {
    if (typeof value === 'string') return text(value);
    if (typeof value !== 'number') return list(...value.map(text));
    const double = Buffer.alloc(8);
    double.writeDoubleBE(value);
    return Number.isInteger(value) ? int(value) : Buffer.concat([Buffer.from('G'), double]);
  };
  const state = dict(Object.entries(args).map(([name, value]) => [name, plain(value)]));
  return Buffer.concat([global('argparse', 'Namespace'), emptyTuple, newObject, state, build]);
}
