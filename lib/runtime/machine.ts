/** What this machine and this installation are: the facts beside which figures and reports of trouble make sense. */
import { readFileSync, realpathSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { basename } from 'node:path';

export interface Processor {
  readonly model: string;
  /** Logical processors. */
  readonly count: number;
  /** Instruction sets that kernels are chosen by, as Linux names them; empty where the system does not tell. */
  readonly instructions: readonly string[];
  /** Bytes of physical memory. */
  readonly memory: number;
}

const interesting = /^(sse4_2|avx|avx2|fma|f16c|avx512(f|bw|vl|_vnni|_bf16|_fp16)|avx_vnni|amx_(tile|int8|bf16)|asimd|sve)$/;

export function describeProcessor(): Processor {
  const processors = cpus();
  return {
    model: processors[0]?.model.trim() || 'unknown',
    count: processors.length,
    instructions: instructionSets(),
    memory: totalmem(),
  };
}

/** Those that kernels are chosen by, as Linux names them. */
export function instructionSets(): string[] {
  try {
    const flags = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '';
    return flags.split(' ').filter((flag) => interesting.test(flag));
  } catch {
    return []; // not Linux
  }
}

/** The version of this package. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}

interface ProcessReport {
  readonly header: { readonly glibcVersionRuntime?: string };
  readonly sharedObjects: readonly string[];
}

/** What Node knows of this process: the C library's version, where it is that one, and everything that is loaded now. */
export function loadedLibraries(): { readonly glibc: string | undefined; readonly paths: readonly string[] } {
  // Network interfaces and handles would have their names looked up, which takes seconds without a network; Node 20's types lack the
  // switch.
  Object.assign(process.report, { excludeNetwork: true });
  const { header, sharedObjects } = process.report.getReport() as unknown as ProcessReport;
  return { glibc: header.glibcVersionRuntime, paths: sharedObjects };
}

/** The loaded oneDNN's full name, which carries its version, such as libdnnl.so.2.6. Undefined when it is not loaded on its own. */
export function loadedOneDnn(libraries: readonly string[] = loadedLibraries().paths): string | undefined {
  const path = libraries.find((candidate) => /^libdnnl\./.test(basename(candidate)));
  return path === undefined ? undefined : realpathSync(path);
}
