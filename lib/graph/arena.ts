/** Where each stored tensor is in its flat arena. */
import { KernelWarehouseError } from '../errors.js';
import type { TensorDeclaration } from './declaration.js';
import { elements } from './operation.js';

/** Tensors start at multiples of 16 elements (64 bytes); the gaps stay zero. */
const alignment = 16;

export interface ArenaEntry {
  readonly declaration: TensorDeclaration;
  /** Elements from the arena's start. */
  readonly offset: number;
  readonly size: number;
}

export class Arena {
  readonly entries: readonly ArenaEntry[];
  /** Elements, gaps included. */
  readonly size: number;
  /** Weight decay applies to the elements before this one: the tensors of more than one dimension, which come first. */
  readonly decayed: number;
  readonly #byName: ReadonlyMap<string, ArenaEntry>;

  constructor(declarations: Iterable<TensorDeclaration>) {
    const all = [...declarations];
    const entries: ArenaEntry[] = [];
    let offset = 0;
    const place = (declaration: TensorDeclaration) => {
      const size = elements(declaration.shape);
      entries.push({ declaration, offset, size });
      offset += Math.ceil(size / alignment) * alignment;
    };
    all.filter(({ shape }) => shape.length > 1).forEach(place);
    this.decayed = offset;
    all.filter(({ shape }) => shape.length <= 1).forEach(place);
    this.entries = entries;
    this.size = offset;
    this.#byName = new Map(entries.map((entry) => [entry.declaration.name, entry]));
  }

  entry(name: string): ArenaEntry {
    const entry = this.#byName.get(name);
    if (!entry)
      throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `no tensor '${name}' in this arena of ${this.entries.length} tensors`);
    return entry;
  }

  /** Elements that belong to tensors. */
  get count(): number {
    return this.entries.reduce((sum, { size }) => sum + size, 0);
  }
}
