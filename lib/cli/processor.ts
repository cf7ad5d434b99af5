/** What the processor can do, as Linux names it. */
import { readFileSync } from 'node:fs';
import type { Precision } from '../graph/passes/precision.js';

/** Instruction sets that oneDNN chooses its kernels by. */
const interesting = /^(sse4_2|avx|avx2|fma|f16c|avx512(f|bw|vl|_vnni|_bf16|_fp16)|avx_vnni|amx_(tile|int8|bf16)|asimd|sve)$/;

export function instructionSets(): string[] {
  try {
    const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    return flags.split(' ').filter((flag) => interesting.test(flag));
  } catch {
    return []; // not Linux
  }
}

/** The instructions that multiply bfloat16 numbers here, the fastest; undefined where they are widened and multiplied as float32. */
export function bfloat16Instructions(): string | undefined {
  const sets = instructionSets();
  return ['amx_bf16', 'avx512_bf16'].find((name) => sets.includes(name));
}

/** What a line of a report ends in where the precision is not the usual one. */
export function inWords(precision: Precision): string {
  return precision === 'float32' ? '' : `, ${precision}`;
}

/** Says once that bfloat16 is no faster here, where it is chosen and not. */
export function noteFallback(precision: Precision): void {
  if (precision === 'float32' || bfloat16Instructions() !== undefined) return;
  process.stderr.write(
    'kernel-warehouse: this processor has no instructions for bfloat16 (AVX512_BF16, AMX): it saves memory here, but no time\n',
  );
}
