/** The least time of each step on a processor that is described by its rates: a roofline with two levels, memory and L2 cache. */
import { elements } from '../../graph/operation.js';
import type { Plan, PlanStep } from '../../plan/plan.js';
import { computedCost } from '../step_costs.js';
import type { Hardware } from './hardware.js';
import { chooseMixedKernel, fusedPositions, fusedSamples, type MixedChoice, type MixedKernel, weightCache } from './kernel_choice.js';
import { isDepthwise, type MixedConvolution, mixedConvolution, weightElements } from './mixed_convolution.js';
import { mixedLaunches, type PlainKernel, plainKernel, plainLaunches } from './step_kernels.js';

export const resources = ['arithmetic', 'memory', 'L2'] as const;
export type Resource = (typeof resources)[number];

/** The names of a step's kernels in tables. */
export type Kernel = MixedKernel | PlainKernel;

/**
 * Milliseconds of a mixed convolution if its weights were in one place and nothing were read twice; for any other step, its bound three
 * times.
 */
export interface IdealForms {
  /** Mixed weights are written to memory and read back. */
  readonly weightsInMemory: number;
  /** Mixed weights never leave the L2 cache. */
  readonly weightsInL2: number;
  /** Mixed weights never leave the cores. */
  readonly weightsInCores: number;
}

export interface StepBound {
  readonly label: string;
  readonly op: string;
  readonly kernel: Kernel;
  /** Kernels that are launched; each is a node of the captured graph. */
  readonly launches: number;
  /** Only useful ones. What the kernel pads or mixes twice counts in the bound, not here. */
  readonly gigaflop: number;
  /** From and to device memory. */
  readonly memoryBytes: number;
  /** Between L2 cache and cores. */
  readonly l2Bytes: number;
  readonly boundMicroseconds: number;
  /** What takes longest among the parts of the bound. */
  readonly boundBy: Resource;
  readonly idealMicroseconds: IdealForms;
}

/** One kernel, or several that do one thing together; the resource that they need most decides how long they take. */
interface Phase {
  readonly arithmeticSeconds: number;
  readonly memoryBytes: number;
  readonly l2Bytes: number;
}

export interface BoundOptions {
  readonly hardware: Hardware;
  /** Whether float32 products run on tensor cores. */
  readonly tf32: boolean;
}

/** Bounds of a plan's steps, in its order. */
export function stepBounds(plan: Plan, options: BoundOptions): StepBound[] {
  return plan.steps.map((step) => stepBound(plan, step, options));
}

function stepBound(plan: Plan, step: PlanStep, options: BoundOptions): StepBound {
  const { hardware, tf32 } = options;
  const convolution = mixedConvolution(plan, step);
  const { flops, bytes } = computedCost(plan, step);
  const named = { label: step.label, op: step.op, gigaflop: flops / 1e9 };
  const products = productRate(plan, step, options);
  if (!convolution) {
    const kernel = plainKernel(plan, step, tf32);
    const rate = kernel === 'pass' || kernel === 'depth-wise' ? float32Rate(hardware) : products;
    const { boundMicroseconds, ...bound } = boundOf([{ arithmeticSeconds: flops / rate, memoryBytes: bytes, l2Bytes: bytes }], hardware);
    const ideal = { weightsInMemory: boundMicroseconds, weightsInL2: boundMicroseconds, weightsInCores: boundMicroseconds };
    return { ...named, kernel, launches: plainLaunches(plan, step, kernel), boundMicroseconds, ...bound, idealMicroseconds: ideal };
  }
  const { shape, samples, direction, elementBytes } = convolution;
  const choice = chooseMixedKernel(shape, samples, direction, elementBytes, hardware);
  const rates = { mixing: products, convolving: isDepthwise(shape) ? float32Rate(hardware) : products };
  const timeOf = (phases: readonly Phase[]) => boundOf(phases, hardware).boundMicroseconds;
  const once = { storesInMemory: false, rereadBytes: 0, rereadsMemory: false };
  return {
    ...named,
    kernel: choice.kernel,
    launches: mixedLaunches(convolution, choice),
    ...boundOf(
      choice.kernel === 'fused'
        ? [fusedPhase(convolution, choice, rates, hardware)]
        : assembledPhases(convolution, chunkTraffic(convolution, choice, hardware), rates),
      hardware,
    ),
    idealMicroseconds: {
      weightsInMemory: timeOf(assembledPhases(convolution, { ...once, storesInMemory: true }, rates)),
      weightsInL2: timeOf(assembledPhases(convolution, once, rates)),
      weightsInCores: timeOf([coresPhase(convolution, rates)]),
    },
  };
}

/** Operations per second for the products of a step, by the type of their factors. */
function productRate({ tensors }: Plan, { inputs }: PlanStep, { hardware, tf32 }: BoundOptions): number {
  if (tensors[inputs[0] as number]?.type === 'bfloat16') return 1e12 * hardware.bfloat16TeraflopsPerSecond;
  return tf32 ? 1e12 * hardware.tf32TeraflopsPerSecond : float32Rate(hardware);
}

function float32Rate({ float32TeraflopsPerSecond }: Hardware): number {
  return 1e12 * float32TeraflopsPerSecond;
}

/** Operations per second. A depth-wise convolution does not use the tensor cores. */
interface Rates {
  readonly mixing: number;
  readonly convolving: number;
}

/** The ideal kernel: it moves every tensor once and weights never. */
function coresPhase(convolution: MixedConvolution, { mixing, convolving }: Rates): Phase {
  const { direction, mixingFlops, convolutionFlops } = convolution;
  const arithmeticSeconds = ((direction === 'mixing' ? 2 : 1) * mixingFlops) / mixing + convolutionFlops / convolving;
  const bytes = activationBytes(convolution) + mixedBytes(convolution);
  return { arithmeticSeconds, memoryBytes: bytes, l2Bytes: bytes };
}

/**
 * What the fused kernel pads (cells and rows of attention to 16, samples and positions to those of a block), and what its blocks read
 * again.
 */
function fusedPhase(convolution: MixedConvolution, { fusedChannels }: MixedChoice, rates: Rates, hardware: Hardware): Phase {
  const { shape, samples, cellElements, elementBytes, sourceBytes, mixingFlops, convolutionFlops } = convolution;
  const { outChannels, kernel, outSize, cells } = shape;
  const [count, cellChannels] = cells as [number, number];
  const padded = (size: number, multiple: number) => (Math.ceil(size / multiple) * multiple) / size;
  const mixing = (mixingFlops * padded(count, 16) * padded(fusedSamples * elements(kernel), 16)) / rates.mixing;
  const convolving = (convolutionFlops * fusedPositions) / elements(outSize) / rates.convolving;
  const cellBytes = cellElements * elementBytes;
  const [groups, channelBlocks] = [Math.ceil(samples / fusedSamples), outChannels / fusedChannels];
  // Blocks that run at the same time read the same cells and images at about the same time, so these come from memory at most once.
  const waves = Math.ceil((groups * channelBlocks) / hardware.multiprocessors);
  const once = coresPhase(convolution, rates);
  return {
    arithmeticSeconds: (mixing + convolving) * padded(samples, fusedSamples),
    memoryBytes: once.memoryBytes + (cellBytes > 2 * weightCache(hardware) ? (waves - 1) * cellBytes : 0),
    l2Bytes: once.l2Bytes + ((groups * outChannels) / cellChannels - 1) * cellBytes + (channelBlocks - 1) * sourceBytes,
  };
}

/** What mixing weights chunk by chunk moves beside the tensors of the step, and where. */
interface Traffic {
  readonly storesInMemory: boolean;
  /** Traffic of cells, and of the sums of their gradient, except for the first time. */
  readonly rereadBytes: number;
  readonly rereadsMemory: boolean;
}

function chunkTraffic(convolution: MixedConvolution, { kernel, samplesAtOnce }: MixedChoice, hardware: Hardware): Traffic {
  const { direction, samples, cellElements, elementBytes } = convolution;
  // Each chunk adds to the float32 sums of the cells' gradient.
  const bytes = cellElements * (elementBytes + (direction === 'mixing' ? 8 : 0));
  return {
    storesInMemory: kernel === 'in memory',
    rereadBytes: (Math.ceil(samples / samplesAtOnce) - 1) * bytes,
    rereadsMemory: bytes > weightCache(hardware), // the half of the cache that weights leave
  };
}

/** Mixing and convolving. For the gradient: its products with the cells and the attention, and the convolution before them. */
function assembledPhases(convolution: MixedConvolution, traffic: Traffic, rates: Rates): Phase[] {
  const { direction, shape, samples, elementBytes, mixingFlops, convolutionFlops } = convolution;
  const { storesInMemory, rereadBytes, rereadsMemory } = traffic;
  const weights = weightElements(shape) * samples * elementBytes;
  const phase = (arithmeticSeconds: number, memoryBytes: number, l2Bytes: number, weightUses: number): Phase => {
    const stored = weightUses * weights;
    return { arithmeticSeconds, memoryBytes: memoryBytes + (storesInMemory ? stored : 0), l2Bytes: l2Bytes + stored };
  };
  const products = direction === 'mixing' ? 2 : 1;
  const [mixed, activations] = [mixedBytes(convolution), activationBytes(convolution)];
  return [
    phase((products * mixingFlops) / rates.mixing, mixed + (rereadsMemory ? rereadBytes : 0), mixed + rereadBytes, products),
    phase(convolutionFlops / rates.convolving, activations, activations, 1),
  ];
}

/** Cells and attention, and their gradients if the step computes them. */
function mixedBytes({ direction, cellElements, elementBytes, attentionBytes, otherBytes }: MixedConvolution): number {
  return cellElements * elementBytes + attentionBytes + (direction === 'mixing' ? otherBytes : 0);
}

/** What the convolution itself reads and writes, without its weights. */
function activationBytes({ direction, sourceBytes, resultBytes, otherBytes }: MixedConvolution): number {
  return sourceBytes + resultBytes + (direction === 'mixing' ? 0 : otherBytes);
}

function boundOf(
  phases: readonly Phase[],
  { memoryTerabytesPerSecond, l2TerabytesPerSecond }: Hardware,
): Pick<StepBound, 'memoryBytes' | 'l2Bytes' | 'boundMicroseconds' | 'boundBy'> {
  const bound = { memoryBytes: 0, l2Bytes: 0, boundMicroseconds: 0 };
  const bindingFor = new Map<Resource, number>();
  for (const { arithmeticSeconds, memoryBytes, l2Bytes } of phases) {
    const times: Record<Resource, number> = {
      arithmetic: 1e6 * arithmeticSeconds,
      memory: memoryBytes / 1e6 / memoryTerabytesPerSecond,
      L2: l2Bytes / 1e6 / l2TerabytesPerSecond,
    };
    const binding = resources.reduce((most, resource) => (times[resource] > times[most] ? resource : most));
    bindingFor.set(binding, (bindingFor.get(binding) ?? 0) + times[binding]);
    bound.memoryBytes += memoryBytes;
    bound.l2Bytes += l2Bytes;
    bound.boundMicroseconds += times[binding];
  }
  const [boundBy] = [...bindingFor].reduce((most, each) => (each[1] > most[1] ? each : most));
  return { ...bound, boundBy };
}
