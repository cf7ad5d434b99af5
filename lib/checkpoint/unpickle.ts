/**
 * Python's pickle format (protocols 0 to 5) as data. A pickle is a program for a small stack machine; here it can only build containers and
 * plain values. Names in a pickle are never looked up: `PickleWorld` gives a meaning to the few known ones, and every other name stays a
 * name. There are no jumps, so the length bounds the time; MAXIMUM_OPERATIONS bounds the memory.
 */
import { type Fail, shown } from './failure.js';
import { operationsByCode } from './pickle_operations.js';

/** Something that Python would import: `torch._utils _rebuild_tensor_v2`. Never called. */
export class PickleGlobal {
  constructor(readonly name: string) {}
}

/** An object of a class of which only the name is known. */
export class PickleObject {
  /** What the object's `__dict__` would be, or its other state. */
  state: PickleValue = undefined;
  constructor(readonly className: string) {}
}

export type PickleValue = undefined | null | boolean | number | bigint | string | Uint8Array | PickleContainer | object;
/** Tuples and lists are arrays; dicts are maps, so that no key can be mistaken for a property. */
type PickleContainer = PickleValue[] | Map<PickleValue, PickleValue> | Set<PickleValue>;

/** The meaning of the names in a pickle. */
export interface PickleWorld {
  /** The result of calling `callable`; must fail for unknown callables. */
  readonly call: (callable: string, values: readonly PickleValue[]) => PickleValue;
  /** The meaning of a persistent id, which refers to something outside of the pickle. */
  readonly persistent: (id: PickleValue) => PickleValue;
}

/** Thrown when the bytes end before the pickle does, for readers that try with more. */
export class PickleCutShort extends Error {}

const MAXIMUM_OPERATIONS = 5_000_000;
const MAXIMUM_PROTOCOL = 5;
/** Longer integers have no use in a checkpoint and are slow to convert; they become objects of unknown value. */
const MAXIMUM_INTEGER_BYTES = 64;
const MAXIMUM_INTEGER_DIGITS = 150;
const LONG_INTEGER = 'builtins int';
const MAXIMUM_LINE_BYTES = 4096;

// Python's surrogatepass allows invalid UTF-8. Replacing it loses nothing that a name or a setting needs.
const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** Reads one pickle from the start of `bytes`; `end` is where it stops. */
export function unpickle(bytes: Uint8Array, world: PickleWorld, fail: Fail): { readonly value: PickleValue; readonly end: number } {
  return new Machine(bytes, world, fail).run();
}

/** The stack machine, whose operations are in pickle_operations.ts. */
export class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #world: PickleWorld;
  readonly #fail: Fail;
  readonly #memo = new Map<number, PickleValue>();
  readonly #marks: number[] = [];
  #stack: PickleValue[] = [];
  #position = 0;

  constructor(bytes: Uint8Array, world: PickleWorld, fail: Fail) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#world = world;
    this.#fail = fail;
  }

  run(): { readonly value: PickleValue; readonly end: number } {
    for (let operations = 0; operations < MAXIMUM_OPERATIONS; operations++) {
      const code = this.#byte();
      if (code === 0x2e) return { value: this.pop(), end: this.#position }; // STOP
      const operation = operationsByCode[code];
      if (!operation) this.#fail(`its pickle has an unknown operation 0x${code.toString(16).padStart(2, '0')}`);
      operation(this);
    }
    this.#fail(`its pickle has more than ${MAXIMUM_OPERATIONS} operations`);
  }

  // The parts from which operations are built.

  #byte(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  /** The position of the next `length` bytes. */
  #advance(length: number): number {
    if (!(length <= this.#bytes.length - this.#position)) throw new PickleCutShort();
    const start = this.#position;
    this.#position += length;
    return start;
  }

  unsigned(bytes: 1 | 2 | 4 | 8): number {
    const start = this.#advance(bytes);
    if (bytes === 1) return this.#view.getUint8(start);
    if (bytes === 2) return this.#view.getUint16(start, true);
    if (bytes === 4) return this.#view.getUint32(start, true);
    const value = this.#view.getBigUint64(start, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) this.#fail(`its pickle has a length of ${value}`);
    return Number(value);
  }

  signed32(): number {
    return this.#view.getInt32(this.#advance(4), true);
  }

  bigEndianDouble(): number {
    return this.#view.getFloat64(this.#advance(8), false);
  }

  take(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.#bytes.subarray(start, start + length);
  }

  text(length: number): string {
    return utf8.decode(this.take(length));
  }

  /** The rest of the line, without its end. */
  line(): string {
    const window = this.#bytes.subarray(this.#position, this.#position + MAXIMUM_LINE_BYTES);
    const length = window.indexOf(0x0a);
    if (length < 0) {
      if (window.length < MAXIMUM_LINE_BYTES) throw new PickleCutShort();
      this.#fail(`its pickle has a line of more than ${MAXIMUM_LINE_BYTES} bytes`);
    }
    const text = this.text(length);
    this.#position += 1;
    return text;
  }

  /** An integer in two's complement, little-endian; a bigint only if a number would not be exact. */
  integer(length: number): number | bigint | PickleObject {
    const bytes = this.take(length);
    if (length > MAXIMUM_INTEGER_BYTES) return new PickleObject(LONG_INTEGER);
    const value = bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
    return exact(BigInt.asIntN(8 * length, value));
  }

  decimal(text: string): number | bigint | PickleObject {
    const digits = text.replace(/L$/, '');
    if (!/^[+-]?\d+$/.test(digits)) this.#fail(`its pickle has ${shown(text)} for a whole number`);
    if (digits.length > MAXIMUM_INTEGER_DIGITS) return new PickleObject(LONG_INTEGER);
    return exact(BigInt(digits.replace(/^\+/, '')));
  }

  float(text: string): number {
    const special: Readonly<Record<string, number>> = { nan: Number.NaN, inf: Infinity, '-inf': -Infinity };
    if (Object.hasOwn(special, text)) return special[text] as number;
    if (!/^[+-]?[\d.]+(e[+-]?\d+)?$/i.test(text)) this.#fail(`its pickle has ${shown(text)} for a number`);
    return Number(text);
  }

  push(value: PickleValue): void {
    this.#stack.push(value);
  }

  pop(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.#fail('its pickle takes from an empty stack');
    return this.#stack.pop();
  }

  /** The value on top, which stays there. */
  top(): PickleValue {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) this.#fail('its pickle takes from an empty stack');
    return this.#stack.at(-1);
  }

  mark(): void {
    this.#marks.push(this.#stack.length);
  }

  /** Removes and returns the values after the last mark, and removes the mark. */
  popMark(): PickleValue[] {
    const start = this.#marks.pop();
    if (start === undefined) return this.#fail('its pickle has no mark to go back to');
    return this.#stack.splice(start);
  }

  /** POP also removes a mark. */
  discard(): void {
    if (this.#marks.at(-1) === this.#stack.length && this.#marks.length > 0) this.#marks.pop();
    else this.pop();
  }

  remember(index: number): void {
    this.#memo.set(index, this.top());
  }

  rememberNext(): void {
    this.remember(this.#memo.size);
  }

  recall(index: number): void {
    if (!this.#memo.has(index)) this.#fail(`its pickle refers to a value ${index} that it has not stored`);
    this.push(this.#memo.get(index));
  }

  index(text: string): number {
    const value = this.decimal(text);
    return typeof value === 'number' && value >= 0 ? value : this.#fail(`its pickle has ${shown(text)} for an index`);
  }

  global(module: PickleValue, name: PickleValue): void {
    if (typeof module !== 'string' || typeof name !== 'string') this.#fail('its pickle has a name that is not text');
    this.push(new PickleGlobal(`${module} ${name}`));
  }

  call(callable: PickleValue, values: PickleValue): void {
    if (!(callable instanceof PickleGlobal) || !Array.isArray(values)) this.#fail('its pickle calls something that cannot be called');
    this.push(this.#world.call(callable.name, values));
  }

  /** An object made without calling anything; not even `__new__` of its class. */
  newObject(cls: PickleValue): void {
    if (!(cls instanceof PickleGlobal)) this.#fail('its pickle makes an object from something that is not a class');
    // A class that is a known function too, such as OrderedDict, has its own form.
    this.push(containerOf(cls.name) ?? new PickleObject(cls.name));
  }

  build(state: PickleValue): void {
    const object = this.top();
    // Attributes of containers and tensors, such as the _metadata of a state dict, are of no use here.
    if (object instanceof PickleObject) object.state = state;
  }

  append(values: readonly PickleValue[]): void {
    const list = this.top();
    if (Array.isArray(list)) for (const value of values) list.push(value);
    else if (!(list instanceof PickleObject)) this.#fail('its pickle appends to something that is not a list');
  }

  setItems(items: readonly PickleValue[]): void {
    const dictionary = this.top();
    if (items.length % 2 !== 0) this.#fail('its pickle has a key without a value');
    if (dictionary instanceof Map) {
      for (let i = 0; i < items.length; i += 2) dictionary.set(items[i], items[i + 1]);
    } else if (!(dictionary instanceof PickleObject)) this.#fail('its pickle sets items of something that is not a dict');
  }

  addItems(items: readonly PickleValue[]): void {
    const set = this.top();
    if (set instanceof Set) for (const item of items) set.add(item);
    else if (!(set instanceof PickleObject)) this.#fail('its pickle adds to something that is not a set');
  }

  persistent(id: PickleValue): void {
    this.push(this.#world.persistent(id));
  }

  protocol(version: number): void {
    if (version > MAXIMUM_PROTOCOL) this.#fail(`its pickle has protocol ${version}; protocols up to ${MAXIMUM_PROTOCOL} are known`);
  }

  refuse(what: string): never {
    return this.#fail(`its pickle has ${what}, which torch.save does not write`);
  }
}

/** The container that a class is read as, where it is one. */
export function containerOf(className: string): PickleContainer | undefined {
  if (className === 'collections OrderedDict' || className === 'collections defaultdict') return new Map();
  return undefined;
}

function exact(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
