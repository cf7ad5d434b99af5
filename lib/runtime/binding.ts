/** The buffers of a program, bound by name and released together. */
import type { DeviceBuffer } from './buffer.js';
import type { Program } from './program.js';

/** Binds those of `places` that occur in the program's plan. */
export function bindAll(program: Program, places: Readonly<Record<string, DeviceBuffer>>): void {
  const names = new Set(program.plan.buffers.map(({ name }) => name));
  program.bind(Object.fromEntries(Object.entries(places).filter(([name]) => names.has(name))));
}

export function disposeAll(resources: Iterable<Disposable>): void {
  for (const resource of resources) resource[Symbol.dispose]();
}
