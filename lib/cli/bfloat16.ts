/** What to tell the user about bfloat16 on this processor. */
import type { Precision } from '../graph/passes/precision.js';
import { bfloat16Instructions } from '../runtime/cpu_report.js';

/** The end of a report's line if the precision is not float32. */
export function inWords(precision: Precision): string {
  return precision === 'float32' ? '' : `, ${precision}`;
}

/** Notes that bfloat16 is no faster here, if it was chosen and the processor has no instructions for it. */
export function noteFallback(precision: Precision): void {
  if (precision === 'float32' || bfloat16Instructions() !== undefined) return;
  process.stderr.write(
    'kernel-warehouse: bfloat16 saves memory here but no time, because no instructions for it (AVX512_BF16, AMX) are in use\n',
  );
}
