/** The options of `bench` on the command line. */
import type { Precision } from '../../graph/passes/precision.js';
import type { DeviceFlags } from '../arguments.js';

export interface CaseFlags {
  readonly batchSize: readonly number[];
  readonly precision: readonly Precision[];
  readonly inference?: true;
  readonly training?: true;
  readonly imageSize: number;
  readonly against?: string;
  /** Adds a row with this implementation for each network that has one. */
  readonly impl?: 'grouped';
}

export interface BenchFlags extends DeviceFlags, CaseFlags {
  readonly rounds: number;
  readonly seconds: number;
  readonly layers?: true;
  readonly rows: number;
  readonly memory: boolean;
  readonly json?: string | true;
  readonly chart?: string;
  /** The processor whose least times are printed instead of measured ones. */
  readonly bounds?: string;
  readonly measured?: string;
}

export interface TableFlags extends BenchFlags {
  readonly table: number;
  /** A file of trained accuracies. */
  readonly results?: string;
}
