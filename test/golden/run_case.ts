/** Runs one golden case of any kind on one machine and judges every figure of it. */
import { type LayerFile, type NetworkFile, readCase, readTensors, type TrainingFile } from './format.js';
import { runLayerCase } from './layer_case.js';
import { runNetworkCase } from './network_case.js';
import { NotRunnable } from './not_runnable.js';
import type { Machine } from './session.js';
import { type Figure, type Judgement, judge, type Scope } from './tolerance.js';
import { runTrainingCase } from './training_case.js';

export interface CaseReport {
  readonly name: string;
  readonly machine: string;
  readonly outcome: 'passed' | 'failed' | 'not runnable';
  /** Why the case could not be run or broke off. */
  readonly reason?: string;
  readonly judgements: readonly Judgement[];
  readonly seconds: number;
}

async function figuresOf(folder: string, name: string, machine: Machine, steps?: number): Promise<Figure[]> {
  if (/^(layer|network)-baseline-/.test(name)) throw new NotRunnable('the baseline methods are not supported yet');
  if (name.startsWith('layer-')) return runLayerCase(await readCase<LayerFile>(folder, name), await readTensors(folder, name), machine);
  if (name.startsWith('network-')) return runNetworkCase(await readCase<NetworkFile>(folder, name), machine);
  if (name.startsWith('training-')) return runTrainingCase(await readCase<TrainingFile>(folder, name), machine, steps);
  throw new NotRunnable('a golden case is called layer-*, network-* or training-*');
}

/** Never throws: what goes wrong is in the report. `steps` limits how much of a training run is done. */
export async function runCase(folder: string, name: string, machine: Machine, steps?: number): Promise<CaseReport> {
  const start = performance.now();
  const report = (outcome: CaseReport['outcome'], judgements: readonly Judgement[], reason?: string): CaseReport => {
    const seconds = (performance.now() - start) / 1000;
    return { name, machine: machine.name, outcome, judgements, seconds, ...(reason === undefined ? {} : { reason }) };
  };
  try {
    const scope: Scope = name.startsWith('layer-') ? 'layer' : 'network';
    const judgements = (await figuresOf(folder, name, machine, steps)).map((figure) => judge(figure, machine.precision, scope));
    return report(judgements.some(({ verdict }) => verdict === 'failed') ? 'failed' : 'passed', judgements);
  } catch (error) {
    return report(error instanceof NotRunnable ? 'not runnable' : 'failed', [], (error as Error).message);
  }
}

/** The figure closest to its bound, or furthest beyond it. */
export function worstOf(judgements: readonly Judgement[]): Judgement | undefined {
  const judged = judgements.filter(({ verdict }) => verdict !== 'not judged');
  return judged.reduce<Judgement | undefined>((worst, each) => (worst && worst.deviation / worst.bound >= each.deviation / each.bound ? worst : each), undefined);
}

/** The report as one line of text. */
export function describe({ name, machine, outcome, reason, judgements, seconds }: CaseReport): string {
  const head = `${outcome.padEnd(12)} ${machine.padEnd(9)} ${name}`;
  if (reason !== undefined) return `${head}: ${reason}`;
  const count = (verdict: Judgement['verdict']) => judgements.filter((judgement) => judgement.verdict === verdict).length;
  const worst = worstOf(judgements);
  const figures = [`${count('passed')} figures passed`];
  if (count('failed') > 0) figures.push(`${count('failed')} failed`);
  if (count('not judged') > 0) figures.push(`${count('not judged')} not judged`);
  const worstText = worst ? `; worst ${worst.name}: ${worst.deviation.toExponential(1)} of ${worst.bound.toExponential(1)}` : '';
  return `${head}: ${figures.join(', ')}${worstText} (${seconds.toFixed(1)} s)`;
}
