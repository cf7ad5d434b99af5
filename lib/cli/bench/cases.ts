/** Which networks a benchmark times, and which of them fit the memory. */
import { leastBytes, type Mode, type NetworkCase } from '../../bench/contestant.js';
import { groupedImplementation } from '../../bench/grouped_implementation.js';
import { staticCounterpart } from '../../bench/static_counterpart.js';
import { KernelWarehouseError } from '../../errors.js';
import { imageSizeOption } from '../../models/model.js';
import type { ModelOptions } from '../../models/model_options.js';
import { formatBytes } from '../figures.js';
import { selectNoting } from '../network_choice.js';
import type { CaseFlags } from './flags.js';

export interface BenchCase {
  readonly network: NetworkCase;
  /** The case that it is compared with, if any. */
  readonly against?: BenchCase;
}

interface Named {
  readonly name: string;
  readonly model: ModelOptions;
  /** The name of the case that it is compared with. */
  readonly against: string | undefined;
}

/**
 * Every network in every mode, precision and batch size. Those of one setting follow each other, and those that others are compared with
 * come first. Throws ERR_KW_UNKNOWN_NETWORK, ERR_KW_CONFIG.
 */
export function listCases(names: readonly string[], flags: CaseFlags): BenchCase[] {
  const networks = namedNetworks(names, flags);
  const modes: Mode[] = flags.training ? (flags.inference ? ['inference', 'training'] : ['training']) : ['inference'];
  return modes.flatMap((mode) =>
    flags.precision.flatMap((precision) =>
      flags.batchSize.flatMap((batch) => {
        const cases = new Map<string, BenchCase>();
        for (const { name, model, against } of networks) {
          const network: NetworkCase = { name, model, mode, precision, batch, imageSize: flags.imageSize };
          const other = against === undefined ? undefined : cases.get(against);
          cases.set(name, { network, ...(other ? { against: other } : {}) });
        }
        return [...cases.values()];
      }),
    ),
  );
}

/** Each network once, with the one it is compared with: that of `--against`, or its static network. */
function namedNetworks(names: readonly string[], { imageSize, against, impl }: CaseFlags): Named[] {
  const options = (name: string): ModelOptions => selectNoting(name).model;
  const fitting = (model: ModelOptions): ModelOptions => fittingImages(model, imageSize);
  const compared = new Map<string, Named>();
  const others = new Map<string, Named>();
  const addOther = (name: string, model: ModelOptions): void => {
    if (!others.has(name)) others.set(name, { name, model: fitting(model), against: undefined });
  };
  if (against !== undefined) addOther(against, options(against));
  for (const name of names) {
    if (compared.has(name)) {
      process.stderr.write(`kernel-warehouse: ${name} is given more than once and timed once\n`);
      continue;
    }
    if (name === against) continue;
    const model = options(name);
    const counterpart = against === undefined ? staticCounterpart(model) : undefined;
    if (counterpart) addOther(counterpart.network, counterpart);
    compared.set(name, { name, model: fitting(model), against: against ?? counterpart?.network });
  }
  for (const name of others.keys()) compared.delete(name);
  const networks = [...others.values(), ...compared.values()];
  return impl === undefined ? networks : withImplementation(networks, impl);
}

/** Each network, followed by its other implementation if that is asked for. */
function withImplementation(networks: readonly Named[], impl: 'grouped'): Named[] {
  const all = networks.flatMap((network) => [network, groupedImplementation(network)]).filter((network) => network !== undefined);
  if (all.length > networks.length) return all;
  const names = networks.map(({ name }) => name).join(', ');
  throw new KernelWarehouseError(
    'ERR_KW_INVALID_ARGUMENT',
    `--impl ${impl} is an implementation of networks with a kernel for each sample, which none of ${names} has; leave it out`,
  );
}

function fittingImages(model: ModelOptions, imageSize: number): ModelOptions {
  return { ...model, ...imageSizeOption(model.network, imageSize) };
}

/** The model for `name`, for images of this size. */
export function fittingModel(name: string, imageSize: number): ModelOptions {
  return fittingImages(selectNoting(name).model, imageSize);
}

/** Why a case that ran out of memory was left out, with what its plan needs; throws any other error again. */
export function outOfMemory(error: unknown, network: NetworkCase): string {
  if (!(error instanceof KernelWarehouseError && error.code === 'ERR_KW_OUT_OF_MEMORY')) throw error;
  return `needs ${formatBytes(leastBytes(network))} or more, which the device did not give: ${error.message}`;
}

/** Why each case is left out that does not fit the memory which the cases before it leave free. */
export function excessiveCases(cases: readonly BenchCase[], available: number): Map<BenchCase, string> {
  const problems = new Map<BenchCase, string>();
  let taken = 0;
  for (const one of cases) {
    const needed = leastBytes(one.network);
    if (taken + needed <= available) {
      taken += needed;
      continue;
    }
    const beside = needed <= available ? ` beside the ${formatBytes(taken)} of the networks before it; time it on its own` : '';
    problems.set(one, `needs ${formatBytes(needed)}, more than the free ${formatBytes(available)}${beside}`);
  }
  return problems;
}
