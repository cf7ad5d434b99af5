/** Memory of training and inference, predicted and measured, beside what the paper prints (Table 16). */

import type { Mode, NetworkCase } from '../bench/contestant.js';
import type { MachineFacts, Setting } from '../bench/report.js';
import { type PaperTable, paperValue } from './printed_tables.js';

/** A network in a mode, and the results for it. */
export interface MemoryOutcome {
  readonly network: NetworkCase;
  /** Bytes of the plan's buffers, which are known without running anything. */
  readonly predicted: number;
  /** Bytes used by a process of its own. */
  readonly measured?: number;
  /** Why it was not measured, in words. */
  readonly problem?: string;
}

/** An amount, and its ratio to that of the static network in the same setting. */
export interface ComparedAmount {
  readonly amount: number;
  /** Absent if the static network's amount is unknown. */
  readonly ratioToStatic?: number;
}

export interface MemoryLine extends Setting {
  /** The paper's figure, in MB as the GPU's tools count them: 2^20 bytes. */
  readonly paperMegabytes: ComparedAmount;
  readonly predictedBytes: ComparedAmount;
  readonly measuredBytes?: ComparedAmount;
  readonly problem?: string;
}

export interface MemoryReport extends MachineFacts {
  readonly table: Pick<PaperTable, 'number' | 'title' | 'note'>;
  /** Whether it was stopped before every row was measured. */
  readonly partial: boolean;
  readonly imageSizePixels: number;
  readonly lines: readonly MemoryLine[];
}

const figureOfMode = { training: 'trainingMegabytes', inference: 'inferenceMegabytes' } as const satisfies Record<Mode, string>;

function compared(amount: number, ofStatic: number | undefined): ComparedAmount {
  return { amount, ...(ofStatic === undefined ? {} : { ratioToStatic: amount / ofStatic }) };
}

/** @param outcomes for configurations in the table */
export function memoryLines(table: PaperTable, outcomes: readonly MemoryOutcome[]): MemoryLine[] {
  return outcomes.map(({ network, predicted, measured, problem }) => {
    const { name, mode, precision, batch } = network;
    const baseline = table.lines.find(({ configs }) => configs.includes(name))?.baseline ?? name;
    const ofStatic = outcomes.find(
      ({ network: other }) => other.name === baseline && other.mode === mode && other.precision === precision && other.batch === batch,
    );
    const printed = (config: string) => paperValue(table, figureOfMode[mode], config);
    return {
      network: name,
      mode,
      precision,
      batchSize: batch,
      paperMegabytes: compared(printed(name) ?? Number.NaN, printed(baseline)),
      predictedBytes: compared(predicted, ofStatic?.predicted),
      ...(measured === undefined ? {} : { measuredBytes: compared(measured, ofStatic?.measured) }),
      ...(problem === undefined ? {} : { problem }),
    };
  });
}
