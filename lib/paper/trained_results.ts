/** Figures of trained networks, from a user's file, to compare with the paper's. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { KernelWarehouseError } from '../errors.js';
import { suggestion } from '../validation/known_names.js';
import { expectation } from '../validation/schema_problem.js';
import { type PaperFigure, paperTables } from './printed_tables.js';

/** By configuration, then by figure; percent for accuracies. */
export type TrainedResults = Readonly<Record<string, Partial<Record<PaperFigure, number>>>>;

const percentage = z.number().min(0).max(100).optional();

/** Every figure of training is a percentage; speed and memory are measured instead. */
const resultSchema = z.strictObject({
  top1: percentage,
  top5: percentage,
  boxAp: percentage,
  boxAp50: percentage,
  boxAp75: percentage,
  boxApSmall: percentage,
  boxApMedium: percentage,
  boxApLarge: percentage,
  maskAp: percentage,
  maskAp50: percentage,
  maskAp75: percentage,
  maskApSmall: percentage,
  maskApMedium: percentage,
  maskApLarge: percentage,
} satisfies Partial<Record<PaperFigure, z.ZodType>>);

/**
 * Reads `{"<configuration>": {"top1": 73.5, "top5": 91.1}, ...}`. Configurations are those in the paper's tables.
 * @throws ERR_KW_DATA for a file that cannot be read or is malformed, for a configuration that is in no table, and for an unknown figure.
 */
export function readTrainedResults(path: string): TrainedResults {
  const wanted = 'expected a JSON file of trained accuracies in percent, {"<configuration>": {"top1": 70.2, "top5": 89.4}}';
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_DATA', `${path}: ${wanted}: ${problem}`);
  };
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    fail((error as Error).message);
  }
  const parsed = z.record(z.string(), resultSchema).safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    return fail(issue ? `${issue.path.join('.') || 'the whole'}: ${expectation(issue, value)}` : 'of another form');
  }
  const known = [...new Set(paperTables.flatMap(({ lines }) => lines.flatMap(({ configs }) => configs)))];
  for (const config of Object.keys(parsed.data)) {
    if (!known.includes(config)) fail(`no table has a row for '${config}'${suggestion(config, known)}`);
  }
  return parsed.data as TrainedResults;
}
