/** What bfloat16 means on this processor, in words. */
import type { Precision } from '../graph/passes/precision.js';
import { bfloat16Instructions } from '../runtime/cpu_report.js';

/** What a line of a report ends in where the precision is not the usual one. */
export function inWords(precision: Precision): string {
  return precision === 'float32' ? '' : `, ${precision}`;
}

/** Says once that bfloat16 is no faster here, where it is chosen and not. */
export function noteFallback(precision: Precision): void {
  if (precision === 'float32' || bfloat16Instructions() !== undefined) return;
  process.stderr.write('kernel-warehouse: no instructions for bfloat16 (AVX512_BF16, AMX) are used here: it saves memory, but no time\n');
}
