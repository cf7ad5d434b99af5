/**
 * The meaning of names in a pickle of `torch.save`: tensors, storages, element types, containers. Everything else stays a name and is never
 * called.
 */
import { type Fail, shown } from './failure.js';
import { elementCount, STORED_ARRAYS, type StoredType } from './stored_tensor.js';
import { containerOf, PickleGlobal, PickleObject, type PickleValue, type PickleWorld } from './unpickle.js';

/** A range of bytes, of which tensors are views; its key finds it in the file. */
export class TorchStorage {
  constructor(
    /** Undefined for an untyped storage, which is counted in bytes. */
    readonly type: StoredType | undefined,
    readonly key: string,
    /** Elements, or bytes of an untyped storage. */
    readonly count: number,
  ) {}

  get bytes(): number {
    return this.count * (this.type === undefined ? 1 : STORED_ARRAYS[this.type].BYTES_PER_ELEMENT);
  }
}

/** A view of a storage. Offset and strides are in elements. */
export class TorchTensor {
  constructor(
    readonly type: StoredType,
    readonly storage: TorchStorage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}

  get count(): number {
    return elementCount(this.shape) as number;
  }

  /** Elements from its first to its last one, including any between them. */
  get span(): number {
    if (this.count === 0) return 0;
    return this.shape.reduce((last, size, axis) => last + (size - 1) * (this.strides[axis] as number), 0) + 1;
  }

  /** Whether its elements follow each other in row-major order. */
  get contiguous(): boolean {
    let expected = 1;
    for (let axis = this.shape.length - 1; axis >= 0; axis--) {
      const size = this.shape[axis] as number;
      if (size !== 1 && this.strides[axis] !== expected) return false;
      expected *= size;
    }
    return true;
  }
}

const MAXIMUM_DIMENSIONS = 64; // PyTorch's own limit

const storageTypes: Readonly<Record<string, StoredType>> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
};

/** Element types by name. Types without a storage class of their own use untyped storages. */
const elementTypes: Readonly<Record<string, StoredType>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  uint64: 'U64',
  int32: 'I32',
  uint32: 'U32',
  int16: 'I16',
  uint16: 'U16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};

/**
 * Callables of Python, NumPy and PyTorch with which training scripts' settings and states are pickled. Their results become objects of
 * which only the name is known. This is a list, because a call of anything else marks a file that wants to run code.
 */
const harmless = new RegExp(
  `^(${[
    '(builtins|__builtin__) (set|frozenset|list|tuple|dict|complex|bytearray|range|slice|object)',
    '_codecs encode|collections (Counter|deque)|copy_?reg _reconstructor|uuid UUID|decimal Decimal',
    String.raw`datetime \w+|pathlib\w*(\._local)? \w*Path`,
    String.raw`numpy(\.\w+)* (dtype|scalar|_reconstruct|ndarray)`,
    String.raw`torch (device|dtype|Generator)|torch\.serialization _get_layout|torch\._C \w+`,
  ].join('|')})$`,
);

/**
 * The meaning of names; `fail` is called for what no checkpoint can contain. `place` is called for each storage that is referred to, and
 * checks it.
 */
export function torchWorld(place: (storage: TorchStorage, id: readonly PickleValue[]) => void, fail: Fail): PickleWorld {
  const storage = (value: PickleValue): TorchStorage =>
    value instanceof TorchStorage ? value : fail('its pickle makes a tensor from something that is not a storage');

  function tensor(type: StoredType, values: readonly PickleValue[]): TorchTensor {
    const [source, offset, shape, strides] = values;
    return checkedTensor(type, storage(source), offset, shape, strides, fail);
  }

  function typedTensor(values: readonly PickleValue[]): TorchTensor {
    const { type } = storage(values[0]);
    checkAsStored(values[6], fail);
    return tensor(type ?? fail('its pickle has a tensor without an element type'), values);
  }

  const firstTensor = ([value]: readonly PickleValue[]): TorchTensor =>
    value instanceof TorchTensor ? value : fail('its pickle makes a parameter from something that is not a tensor');

  const callables: Readonly<Record<string, (values: readonly PickleValue[]) => PickleValue>> = {
    'torch._utils _rebuild_tensor': typedTensor,
    'torch._utils _rebuild_tensor_v2': typedTensor,
    'torch._utils _rebuild_tensor_v3': (values) => {
      checkAsStored(values[7], fail);
      return tensor(elementTypeOf(values[6], fail), values);
    },
    'torch._utils _rebuild_parameter': firstTensor,
    'torch._utils _rebuild_parameter_with_state': firstTensor,
    // A tensor with attributes or of a subclass: (function, class, values, state).
    'torch._tensor _rebuild_from_type_v2': ([callable, , values]) =>
      callable instanceof PickleGlobal && callable.name.startsWith('torch._utils _rebuild_') && Array.isArray(values)
        ? call(callable.name, values)
        : fail('its pickle has a tensor subclass that is not known'),
    'torch Size': ([sizes]) => (Array.isArray(sizes) ? sizes : fail('its pickle has a torch.Size of no sizes')),
    'collections OrderedDict': ([pairs]) => mapOf(pairs, fail),
    'collections defaultdict': () => new Map(),
  };

  function call(name: string, values: readonly PickleValue[]): PickleValue {
    if (Object.hasOwn(callables, name)) return (callables[name] as (values: readonly PickleValue[]) => PickleValue)(values);
    if (harmless.test(name)) return containerOf(name) ?? new PickleObject(name);
    const readable = shown(name.replace(' ', '.'));
    return fail(
      `refused: reading it with Python would call ${readable}, which here is never done; if you trust the file, open it in Python ` +
        "and save the weights alone, torch.save(model.state_dict(), 'weights.pth')",
    );
  }

  return {
    call,
    persistent: (id) => {
      const found = parseStorage(id, fail);
      place(found, id as readonly PickleValue[]);
      return found;
    },
  };
}

/** A persistent id: ('storage', class, key, device, count), in old files with one more for views. */
function parseStorage(id: PickleValue, fail: Fail): TorchStorage {
  const [kind, cls, key, , count] = Array.isArray(id) ? id : [];
  if (kind !== 'storage' || !(cls instanceof PickleGlobal) || typeof key !== 'string' || !isSize(count)) {
    fail('its pickle refers to something outside of it that is no storage');
  }
  const [module = '', name = ''] = cls.name.split(' ');
  const untyped = cls.name === 'torch.storage UntypedStorage';
  const type = module.startsWith('torch') && Object.hasOwn(storageTypes, name) ? storageTypes[name] : undefined;
  if (!untyped && type === undefined) {
    fail(`it has tensors of ${shown(cls.name.replace(' ', '.'))}; read are ${Object.keys(storageTypes).join(', ')}`);
  }
  return new TorchStorage(type, key, count);
}

/** PyTorch 2 marks tensors whose elements must be negated or conjugated when they are read; the storage alone would give other numbers. */
function checkAsStored(metadata: PickleValue, fail: Fail): void {
  if (!(metadata instanceof Map)) return;
  const bit = ['neg', 'conj'].find((name) => metadata.get(name) === true);
  if (bit !== undefined) {
    fail(`it has a tensor with the ${bit} bit, whose elements are not as stored; in Python, save tensor.resolve_${bit}() instead`);
  }
}

function elementTypeOf(value: PickleValue, fail: Fail): StoredType {
  const name = value instanceof PickleGlobal && value.name.startsWith('torch ') ? value.name.slice('torch '.length) : '';
  if (!Object.hasOwn(elementTypes, name))
    fail(`it has tensors of element type ${shown(name)}; read are ${Object.keys(elementTypes).join(', ')}`);
  return elementTypes[name] as StoredType;
}

function isSize(value: PickleValue): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isSizes(value: PickleValue): value is number[] {
  return Array.isArray(value) && value.length <= MAXIMUM_DIMENSIONS && value.every(isSize);
}

function checkedTensor(
  type: StoredType,
  storage: TorchStorage,
  offset: PickleValue,
  shape: PickleValue,
  strides: PickleValue,
  fail: Fail,
): TorchTensor {
  if (!isSize(offset) || !isSizes(shape) || !isSizes(strides) || strides.length !== shape.length) {
    fail('it has a tensor whose offset, sizes and strides are not whole numbers >= 0, or too many');
  }
  if (elementCount(shape) === undefined) fail(`it has a tensor of shape [${shape.join(', ')}], which is too large`);
  const tensor = new TorchTensor(type, storage, offset, [...shape], [...strides]);
  const available = Math.floor(storage.bytes / STORED_ARRAYS[type].BYTES_PER_ELEMENT);
  if (!(offset + tensor.span <= available)) {
    fail(`it has a tensor of shape [${shape.join(', ')}] that reaches outside its storage of ${available} elements`);
  }
  return tensor;
}

function mapOf(pairs: PickleValue, fail: Fail): Map<PickleValue, PickleValue> {
  if (pairs === undefined) return new Map();
  if (!Array.isArray(pairs) || !pairs.every((pair): pair is PickleValue[] => Array.isArray(pair) && pair.length === 2)) {
    fail('its pickle has an OrderedDict of what are no pairs');
  }
  return new Map(pairs.map(([key, value]) => [key, value]));
}
