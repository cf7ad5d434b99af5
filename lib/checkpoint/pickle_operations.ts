/** The operations of a pickle. */
import type { Machine } from './unpickle.js';

const latin1 = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');
/** How protocol 0 writes booleans. */
const booleans: Readonly<Record<string, boolean>> = { '01': true, '00': false };

/** Named as in Python's pickletools. */
const operations: Readonly<Record<string, readonly [code: number, run: (machine: Machine) => void]>> = {
  PROTO: [0x80, (m) => m.protocol(m.unsigned(1))],
  FRAME: [0x95, (m) => void m.unsigned(8)],
  MARK: [0x28, (m) => m.mark()],
  POP: [0x30, (m) => m.discard()],
  POP_MARK: [0x31, (m) => void m.popMark()],
  DUP: [0x32, (m) => m.push(m.top())],

  NONE: [0x4e, (m) => m.push(null)],
  NEWTRUE: [0x88, (m) => m.push(true)],
  NEWFALSE: [0x89, (m) => m.push(false)],
  INT: [
    0x49,
    (m) => {
      const line = m.line();
      m.push(booleans[line] ?? m.decimal(line));
    },
  ],
  LONG: [0x4c, (m) => m.push(m.decimal(m.line()))],
  BININT: [0x4a, (m) => m.push(m.signed32())],
  BININT1: [0x4b, (m) => m.push(m.unsigned(1))],
  BININT2: [0x4d, (m) => m.push(m.unsigned(2))],
  LONG1: [0x8a, (m) => m.push(m.integer(m.unsigned(1)))],
  LONG4: [0x8b, (m) => m.push(m.integer(m.unsigned(4)))],
  FLOAT: [0x46, (m) => m.push(m.float(m.line()))],
  BINFLOAT: [0x47, (m) => m.push(m.bigEndianDouble())],

  STRING: [0x53, (m) => m.push(m.line().replace(/^(['"])(.*)\1$/, '$2'))],
  BINSTRING: [0x54, (m) => m.push(latin1(m.take(m.unsigned(4))))],
  SHORT_BINSTRING: [0x55, (m) => m.push(latin1(m.take(m.unsigned(1))))],
  UNICODE: [0x56, (m) => m.push(m.line())],
  BINUNICODE: [0x58, (m) => m.push(m.text(m.unsigned(4)))],
  SHORT_BINUNICODE: [0x8c, (m) => m.push(m.text(m.unsigned(1)))],
  BINUNICODE8: [0x8d, (m) => m.push(m.text(m.unsigned(8)))],
  BINBYTES: [0x42, (m) => m.push(m.take(m.unsigned(4)))],
  SHORT_BINBYTES: [0x43, (m) => m.push(m.take(m.unsigned(1)))],
  BINBYTES8: [0x8e, (m) => m.push(m.take(m.unsigned(8)))],
  BYTEARRAY8: [0x96, (m) => m.push(m.take(m.unsigned(8)))],

  EMPTY_TUPLE: [0x29, (m) => m.push([])],
  TUPLE: [0x74, (m) => m.push(m.popMark())],
  TUPLE1: [0x85, (m) => m.push([m.pop()])],
  TUPLE2: [0x86, (m) => m.push([m.pop(), m.pop()].reverse())],
  TUPLE3: [0x87, (m) => m.push([m.pop(), m.pop(), m.pop()].reverse())],
  EMPTY_LIST: [0x5d, (m) => m.push([])],
  LIST: [0x6c, (m) => m.push(m.popMark())],
  APPEND: [
    0x61,
    (m) => {
      const value = m.pop();
      m.append([value]);
    },
  ],
  APPENDS: [0x65, (m) => m.append(m.popMark())],
  EMPTY_DICT: [0x7d, (m) => m.push(new Map())],
  DICT: [
    0x64,
    (m) => {
      const items = m.popMark();
      m.push(new Map());
      m.setItems(items);
    },
  ],
  SETITEM: [
    0x73,
    (m) => {
      const value = m.pop();
      const key = m.pop();
      m.setItems([key, value]);
    },
  ],
  SETITEMS: [0x75, (m) => m.setItems(m.popMark())],
  EMPTY_SET: [0x8f, (m) => m.push(new Set())],
  ADDITEMS: [0x90, (m) => m.addItems(m.popMark())],
  FROZENSET: [0x91, (m) => m.push(new Set(m.popMark()))],

  PUT: [0x70, (m) => m.remember(m.index(m.line()))],
  BINPUT: [0x71, (m) => m.remember(m.unsigned(1))],
  LONG_BINPUT: [0x72, (m) => m.remember(m.unsigned(4))],
  MEMOIZE: [0x94, (m) => m.rememberNext()],
  GET: [0x67, (m) => m.recall(m.index(m.line()))],
  BINGET: [0x68, (m) => m.recall(m.unsigned(1))],
  LONG_BINGET: [0x6a, (m) => m.recall(m.unsigned(4))],

  GLOBAL: [0x63, (m) => m.global(m.line(), m.line())],
  STACK_GLOBAL: [
    0x93,
    (m) => {
      const name = m.pop();
      m.global(m.pop(), name);
    },
  ],
  REDUCE: [
    0x52,
    (m) => {
      const values = m.pop();
      m.call(m.pop(), values);
    },
  ],
  INST: [
    0x69,
    (m) => {
      m.global(m.line(), m.line());
      const cls = m.pop();
      m.call(cls, m.popMark());
    },
  ],
  OBJ: [
    0x6f,
    (m) => {
      const [cls, ...values] = m.popMark();
      m.call(cls, values);
    },
  ],
  NEWOBJ: [
    0x81,
    (m) => {
      m.pop();
      m.newObject(m.pop());
    },
  ],
  NEWOBJ_EX: [
    0x92,
    (m) => {
      m.pop();
      m.pop();
      m.newObject(m.pop());
    },
  ],
  BUILD: [
    0x62,
    (m) => {
      const state = m.pop();
      m.build(state);
    },
  ],
  BINPERSID: [0x51, (m) => m.persistent(m.pop())],

  PERSID: [0x50, (m) => m.refuse('a persistent id as text')],
  EXT1: [0x82, (m) => m.refuse('a number from the extension registry')],
  EXT2: [0x83, (m) => m.refuse('a number from the extension registry')],
  EXT4: [0x84, (m) => m.refuse('a number from the extension registry')],
  NEXT_BUFFER: [0x97, (m) => m.refuse('a buffer from outside')],
  READONLY_BUFFER: [0x98, (m) => m.refuse('a buffer from outside')],
};

export const operationsByCode: readonly (((machine: Machine) => void) | undefined)[] = (() => {
  const byCode = new Array<((machine: Machine) => void) | undefined>(256).fill(undefined);
  for (const [code, run] of Object.values(operations)) byCode[code] = run;
  return byCode;
})();
