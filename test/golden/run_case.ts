/** Runs one golden case of any kind on one machine and judges every figure of it. */
import type { Differences } from '../reference/decisions.js';
import { runBaselineLayerCase, runBaselineNetworkCase } from './baseline_case.js';
import { followingMachine } from './following.js';
import { type LayerFile, type NetworkFile, readCase, readTensors, type TrainingFile } from './format.js';
import { runLayerCase } from './layer_case.js';
import { runNetworkCase } from './network_case.js';
import { NotRunnable } from './not_runnable.js';
import type { Machine } from './session.js';
import { type Figure, type Judgement, judge, type Scope } from './tolerance.js';
import { runTrainingCase } from './training_case.js';

/**
 * `flipped`: beyond the golden README's bounds, but within them of the float64 reference once ReLUs and max poolings decide as on the
 * device, each of which differed only where float64 is nearly undecided. It is not counted as passed.
 */
export type Outcome = 'passed' | 'flipped' | 'failed' | 'not runnable';

export interface CaseReport {
  readonly name: string;
  readonly machine: string;
  readonly outcome: Outcome;
  /** Why the case could not be run or broke off. */
  readonly reason?: string;
  readonly judgements: readonly Judgement[];
  readonly seconds: number;
}

async function figuresOf(folder: string, name: string, machine: Machine, steps?: number): Promise<Figure[]> {
  if (name.startsWith('layer-baseline-'))
    return runBaselineLayerCase(await readCase(folder, name), await readTensors(folder, name), machine);
  if (name.startsWith('network-baseline-')) return runBaselineNetworkCase(await readCase(folder, name), machine);
  if (name.startsWith('layer-')) return runLayerCase(await readCase<LayerFile>(folder, name), await readTensors(folder, name), machine);
  if (name.startsWith('network-')) return runNetworkCase(await readCase<NetworkFile>(folder, name), machine);
  if (name.startsWith('training-')) return runTrainingCase(await readCase<TrainingFile>(folder, name), machine, steps);
  throw new NotRunnable('a golden case is called layer-*, network-* or training-*');
}

/**
 * How undecided a ReLU or max pooling must be, relative to its input's root mean square, for rounding to explain its decision. That is far
 * above float32's own rounding: the attentions of MobileNetV2 normalise over the two samples of a golden batch, layer upon layer, and one
 * build's decisions in network-kw1d2x_mobilenetv2_100 moved by up to 1.1e-2 between oneDNN's SSE4.1, AVX and AVX2 kernels.
 */
const kUndecided = 2e-2;

interface Explanation {
  readonly explained: boolean;
  readonly text: string;
}

/**
 * Compares a device's figures with those of the reference that follows its decisions, in a training run up to the step of the last failure:
 * the steps after one that decided otherwise begin with other weights (AdamW's first step turns gradients of any size into one size), so
 * that their decisions may differ clearly.
 */
async function explain(
  run: (machine: Machine, steps: number) => Promise<Figure[]>,
  figures: readonly Figure[],
  failures: number,
  machine: Machine,
  scope: Scope,
): Promise<Explanation> {
  let differences: Differences;
  let followed: Figure[];
  let steps = 0;
  do {
    differences = { count: 0, largest: 0 };
    followed = await run(followingMachine(machine, differences), ++steps);
  } while (followed.length < failures);
  const judgements = figures
    .slice(0, followed.length)
    .map((figure, i) => judge({ ...figure, expected: followed[i]!.actual }, machine.precision, scope));
  const failed = judgements.filter(({ verdict }) => verdict === 'failed');
  const flips = `${differences.count} ReLUs or maxima were decided otherwise by rounding, the clearest at ${differences.largest.toExponential(1)}`;
  if (failed.length > 0)
    return { explained: false, text: `${flips}; following them, ${failed.length} figures still fail, such as ${failed[0]!.name}` };
  const worst = worstOf(judgements);
  const text = `${flips}; following them, worst ${worst?.name}: ${worst?.deviation.toExponential(1)} of ${worst?.bound.toExponential(1)}`;
  return { explained: differences.count > 0 && differences.largest < kUndecided, text };
}

/** Never throws: what goes wrong is in the report. `steps` limits how much of a training run is done. */
export async function runCase(folder: string, name: string, machine: Machine, steps?: number): Promise<CaseReport> {
  const start = performance.now();
  const report = (outcome: Outcome, judgements: readonly Judgement[], reason?: string): CaseReport => {
    const seconds = (performance.now() - start) / 1000;
    return { name, machine: machine.name, outcome, judgements, seconds, ...(reason === undefined ? {} : { reason }) };
  };
  try {
    const scope: Scope = name.startsWith('layer-') ? 'layer' : 'network';
    const figures = await figuresOf(folder, name, machine, steps);
    const judgements = figures.map((figure) => judge(figure, machine.precision, scope));
    if (!judgements.some(({ verdict }) => verdict === 'failed')) return report('passed', judgements);
    if (machine.precision === 'float64') return report('failed', judgements);
    const failures = 1 + judgements.findLastIndex(({ verdict }) => verdict === 'failed');
    const run = (other: Machine, first: number) => figuresOf(folder, name, other, first);
    const { explained, text } = await explain(run, figures, failures, machine, scope);
    return report(explained ? 'flipped' : 'failed', judgements, text);
  } catch (error) {
    return report(error instanceof NotRunnable ? 'not runnable' : 'failed', [], (error as Error).message);
  }
}

/** The figure closest to its bound, or furthest beyond it. */
export function worstOf(judgements: readonly Judgement[]): Judgement | undefined {
  const judged = judgements.filter(({ verdict }) => verdict !== 'not judged');
  return judged.reduce<Judgement | undefined>(
    (worst, each) => (worst && worst.deviation / worst.bound >= each.deviation / each.bound ? worst : each),
    undefined,
  );
}

/** The report as one line of text. */
export function describe({ name, machine, outcome, reason, judgements, seconds }: CaseReport): string {
  const head = `${outcome.padEnd(12)} ${machine.padEnd(9)} ${name}`;
  if (judgements.length === 0) return `${head}: ${reason ?? 'no figures'}`;
  const count = (verdict: Judgement['verdict']) => judgements.filter((judgement) => judgement.verdict === verdict).length;
  const worst = worstOf(judgements);
  const figures = [`${count('passed')} figures passed`];
  if (count('failed') > 0) figures.push(`${count('failed')} failed`);
  if (count('not judged') > 0) figures.push(`${count('not judged')} not judged`);
  const worstText = worst ? `; worst ${worst.name}: ${worst.deviation.toExponential(1)} of ${worst.bound.toExponential(1)}` : '';
  return `${head}: ${figures.join(', ')}${worstText} (${seconds.toFixed(1)} s)${reason === undefined ? '' : `\n    ${reason}`}`;
}
