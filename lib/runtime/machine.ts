/** Facts about this machine and this installation, without which figures and bug reports make little sense. */
import { readFileSync, realpathSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { basename } from 'node:path';

export interface Processor {
  readonly model: string;
  /** Logical processors. */
  readonly count: number;
  /** Instruction sets from which kernels are chosen, as Linux names them; empty on other systems. */
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

/** The instruction sets from which kernels are chosen, as Linux names them. */
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

/** What Node knows about this process: the version of glibc, if that is its C library, and all loaded libraries. */
export function loadedLibraries(): { readonly glibc: string | undefined; readonly paths: readonly string[] } {
  // Otherwise the names of network interfaces and handles would be looked up, which takes seconds without a network. Node 20's types lack
  // this switch.
  Object.assign(process.report, { excludeNetwork: true });
  const { header, sharedObjects } = process.report.getReport() as unknown as ProcessReport;
  return { glibc: header.glibcVersionRuntime, paths: sharedObjects };
}

/** The loaded oneDNN's full name, which carries its version, such as libdnnl.so.2.6. Undefined when it is not loaded on its own. */
export function loadedOneDnn(libraries: readonly string[] = loadedLibraries().paths): string | undefined {
  const path = libraries.find((candidate) => /^libdnnl\./.test(basename(candidate)));
  return path === undefined ? undefined : realpathSync(path);
}
