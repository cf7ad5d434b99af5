/** The instruction sets that the CPU backend computes with. */
import { loadNative } from './native.js';

export interface CpuReport {
  /** Of this package's own kernels: the best of the processor, or what KW_CPU_ISA allows of it. */
  readonly kernels: 'baseline' | 'avx2' | 'avx512' | 'amx';
  /** oneDNN's name for what it uses, such as avx512_core_bf16; ONEDNN_MAX_CPU_ISA limits it. */
  readonly oneDnn: string;
}

/** Throws ERR_KW_NATIVE_MISSING without the add-on, and ERR_KW_INVALID_ARGUMENT when KW_CPU_ISA names no instruction set. */
export function cpuReport(): CpuReport {
  return JSON.parse(loadNative().cpuReport()) as CpuReport;
}

/** The instructions that multiply bfloat16 numbers, the fastest; undefined where they are widened and multiplied as float32. */
export function bfloat16Instructions({ oneDnn }: Pick<CpuReport, 'oneDnn'> = cpuReport()): 'amx_bf16' | 'avx512_bf16' | undefined {
  if (oneDnn.includes('amx')) return 'amx_bf16';
  return oneDnn.includes('bf16') ? 'avx512_bf16' : undefined;
}
