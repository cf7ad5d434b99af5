/** Small plans for the tests of this folder. */
import type { Plan, PlanStep } from '../../lib/plan/plan.js';

function step(op: string, inputs: number[], outputs: number[], attributes: Record<string, unknown> = {}): PlanStep {
  return { op, label: `the ${op}`, inputs, outputs, attributes, mutates: [] };
}

/** y = x + 1, for `size` floats each. */
export function incrementPlan(size: number): Plan {
  const tensor = (buffer: number) => ({ type: 'float32', shape: [size], buffer, offset: 0 }) as const;
  return {
    version: 1,
    name: 'increment',
    buffers: [
      { name: 'workspace', bytes: size * 4 },
      { name: 'x', bytes: size * 4 },
      { name: 'y', bytes: size * 4 },
    ],
    tensors: [tensor(0), tensor(1), tensor(2)],
    steps: [step('fill', [], [0], { shape: [size], value: 1 }), step('add', [1, 0], [2])],
  };
}

/** `count` products of two square matrices in the workspace: a run that takes a while. */
export function matmulPlan(size: number, count: number): Plan {
  const bytes = Math.ceil((size * size * 4) / 64) * 64;
  const tensor = (index: number) => ({ type: 'float32', shape: [size, size], buffer: 0, offset: index * bytes }) as const;
  const attributes = { transposeA: false, transposeB: false };
  return {
    version: 1,
    name: 'products',
    buffers: [{ name: 'workspace', bytes: 2 * bytes }],
    tensors: [tensor(0), tensor(1)],
    steps: Array.from({ length: count }, () => step('matmul', [0, 0], [1], attributes)),
  };
}
