/** The instruction sets with which the CPU backend computes. */
import { loadNative } from './native.js';

export interface CpuReport {
  /** For this package's own kernels: the best set of the processor, or the one to which KW_CPU_ISA limits them. */
  readonly kernels: 'baseline' | 'avx2' | 'avx512' | 'amx';
  /** The set that oneDNN uses, by oneDNN's name, such as avx512_core_bf16; ONEDNN_MAX_CPU_ISA limits it. */
  readonly oneDnn: string;
}

/** Throws ERR_KW_NATIVE_MISSING without the add-on, and ERR_KW_INVALID_ARGUMENT when KW_CPU_ISA names no instruction set. */
export function cpuReport(): CpuReport {
  return JSON.parse(loadNative().cpuReport()) as CpuReport;
}

/** The fastest instructions that multiply bfloat16 numbers; undefined if these are widened and multiplied as float32. */
export function bfloat16Instructions({ oneDnn }: Pick<CpuReport, 'oneDnn'> = cpuReport()): 'amx_bf16' | 'avx512_bf16' | undefined {
  if (oneDnn.includes('amx')) return 'amx_bf16';
  return oneDnn.includes('bf16') ? 'avx512_bf16' : undefined;
}
