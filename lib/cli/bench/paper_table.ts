/** `kernel-warehouse bench --table`: a table of the paper, computed or measured here, beside the printed figures. */
import { KernelWarehouseError } from '../../errors.js';
import { type PaperTable, paperTables } from '../../paper/printed_tables.js';
import type { TableFlags } from './flags.js';
import { runCountsTable } from './paper_counts.js';
import { runMemoryTable } from './paper_memory.js';
import { runBench } from './run.js';

/** How a table is made, and which options have no meaning for it. */
interface Kind {
  readonly words: string;
  readonly refused: readonly (keyof TableFlags)[];
  readonly run: (table: PaperTable, flags: TableFlags, isGiven: (option: keyof TableFlags) => boolean) => Promise<void>;
}

const ofNetworks = ['against', 'bounds', 'measured'] as const;
const ofRunning = ['device', 'threads', 'gpu', 'tf32', 'memory', 'batchSize', 'precision', 'inference', 'training'] as const;
const ofTiming = ['rounds', 'seconds', 'layers', 'rows', 'chart', 'impl'] as const;

const counts: Kind = {
  words: 'runs nothing',
  refused: [...ofNetworks, ...ofRunning, ...ofTiming, 'imageSize'],
  run: runCountsTable,
};

/** The paper's setting, used unless another is asked for. */
const paperBatchSize = 100;

const speed: Kind = {
  words: 'times inference of its own networks',
  refused: [...ofNetworks, 'training', 'results'],
  run: (table, flags, isGiven) => {
    const names = table.lines.flatMap(({ configs }) => configs);
    // Table 16 is the table of memory.
    return runBench(names, { ...flags, memory: false, ...(isGiven('batchSize') ? {} : { batchSize: [paperBatchSize] }) }, table);
  },
};

const memory: Kind = {
  words: 'measures the memory of its own networks',
  refused: [...ofNetworks, ...ofTiming, 'results'],
  run: runMemoryTable,
};

function kindOf({ figures }: PaperTable): Kind {
  if (figures.includes('framesPerSecond')) return speed;
  return figures.includes('trainingMegabytes') ? memory : counts;
}

/**
 * @param isGiven whether the user gave an option, rather than its default
 * @throws ERR_KW_INVALID_ARGUMENT for a table that does not exist, for networks, and for options that have no meaning for the table.
 */
export async function runPaperTable(
  names: readonly string[],
  flags: TableFlags,
  isGiven: (option: keyof TableFlags) => boolean,
): Promise<void> {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', problem);
  };
  const table = paperTables.find(({ number }) => number === flags.table);
  if (!table)
    return fail(`--table: there is no table ${flags.table} here; expected one of ${paperTables.map(({ number }) => number).join(', ')}`);
  if (names.length > 0) fail(`--table ${table.number} has networks of its own: leave out ${names.join(', ')}`);
  const { words, refused, run } = kindOf(table);
  const stray = refused.filter(isGiven).map(flagOf);
  if (stray.length > 0) fail(`--table ${table.number} ${words}: leave out ${stray.join(', ')}`);
  await run(table, flags, isGiven);
}

/** An option as written on the command line. */
function flagOf(option: keyof TableFlags): string {
  if (option === 'memory') return '--no-memory';
  return `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
