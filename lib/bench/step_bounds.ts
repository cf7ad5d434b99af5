/** The least time of each step on a processor that is described by its rates: a roofline of two levels, memory and L2 cache. */
import type { Plan, PlanStep } from '../plan/plan.js';
import type { Hardware } from './hardware.js';
import { chooseMixedKernel, fusedTile, type MixedChoice, type MixedKernel, storedBytes } from './kernel_choice.js';
import { type MixedConvolution, mixedConvolution } from './mixed_convolution.js';
import { computedCost } from './step_costs.js';

export const resources = ['arithmetic', 'memory', 'L2'] as const;
export type Resource = (typeof resources)[number];

/** How a step's kernels are called in tables. `pass`: a kernel that goes over its tensors, of our own. */
export type Kernel = MixedKernel | 'cuDNN' | 'cuBLASLt' | 'pass';

/** Milliseconds of a mixed convolution in three ideal forms, none of which reads anything twice; of any other step three times its bound. */
export interface IdealForms {
  /** Assembled weights are written to memory and read back. */
  readonly weightsInMemory: number;
  /** Assembled weights never leave the L2 cache. */
  readonly weightsInL2: number;
  /** Assembled weights never leave the cores. */
  readonly weightsInCores: number;
}

export interface StepBound {
  readonly label: string;
  readonly op: string;
  readonly kernel: Kernel;
  /** Kernels that are started, each a node of the captured graph. */
  readonly launches: number;
  /** Useful ones: what the kernel pads or mixes twice counts in the bound, not here. */
  readonly gigaflop: number;
  /** From and to device memory. */
  readonly memoryBytes: number;
  /** Between L2 cache and cores. */
  readonly l2Bytes: number;
  readonly boundMicroseconds: number;
  /** What takes longest of all that the bound is made of. */
  readonly boundBy: Resource;
  readonly idealMicroseconds: IdealForms;
}

/** A kernel, or several that do one thing together; what it needs most decides how long it takes. */
interface Phase {
  readonly flops: number;
  readonly rate: number;
  readonly memoryBytes: number;
  readonly l2Bytes: number;
}

export interface BoundOptions {
  readonly hardware: Hardware;
  /** Products of float32 on tensor cores. */
  readonly tf32: boolean;
}

/** Bounds of a plan's steps, in its order. */
export function stepBounds(plan: Plan, options: BoundOptions): StepBound[] {
  return plan.steps.map((step) => stepBound(plan, step, options));
}

function stepBound(plan: Plan, step: PlanStep, options: BoundOptions): StepBound {
  const { hardware } = options;
  const convolution = mixedConvolution(plan, step);
  const { flops, bytes } = computedCost(plan, step);
  const named = { label: step.label, op: step.op, gigaflop: flops / 1e9 };
  if (!convolution) {
    const kernel = plainKernel(plan, step);
    const rate = kernel === 'cuDNN' || kernel === 'cuBLASLt' ? productRate(plan, step, options) : float32Rate(hardware);
    const { boundMicroseconds, ...bound } = boundOf([{ flops, rate, memoryBytes: bytes, l2Bytes: bytes }], hardware);
    const ideal = { weightsInMemory: boundMicroseconds, weightsInL2: boundMicroseconds, weightsInCores: boundMicroseconds };
    return { ...named, kernel, launches: launchesOf(step.op), boundMicroseconds, ...bound, idealMicroseconds: ideal };
  }
  const products = productRate(plan, step, options);
  const choice = chooseMixedKernel(convolution, hardware, products > float32Rate(hardware));
  const rate = choice.kernel === 'depth-wise' ? float32Rate(hardware) : products;
  const stored = { pieces: 1, storedBytes: storedBytes(convolution), rereadBytes: 0, rereadsMemory: false };
  const timeOf = (phases: readonly Phase[]) => boundOf(phases, hardware).boundMicroseconds;
  return {
    ...named,
    kernel: choice.kernel,
    launches: mixedLaunches(convolution, choice),
    ...boundOf(chosenPhases(convolution, choice, rate), hardware),
    idealMicroseconds: {
      weightsInMemory: timeOf(assembledPhases(convolution, { ...stored, kernel: 'in memory' }, rate)),
      weightsInL2: timeOf(assembledPhases(convolution, { ...stored, kernel: 'by samples' }, rate)),
      weightsInCores: timeOf([fusedPhase(convolution, rate)]),
    },
  };
}

/** The kernel of a step that mixes no weights for a convolution. */
function plainKernel({ tensors }: Plan, { op, inputs, attributes }: PlanStep): Kernel {
  if (/^(normalized_)?conv[23]d/.test(op)) {
    const channels = tensors[inputs[0] as number]?.shape.at(-1);
    const { groups } = attributes as { groups: number };
    return groups > 1 && groups === channels ? 'depth-wise' : 'cuDNN';
  }
  return products.test(op) ? 'cuBLASLt' : 'pass';
}

/** Ops whose work is a matrix product, given weights of each sample among them. */
const products = /^(matmul|self_attention|mix_cells|samplewise_conv)/;

/** Operations per second of a step's products, by the type of what they multiply. */
function productRate({ tensors }: Plan, { inputs }: PlanStep, { hardware, tf32 }: BoundOptions): number {
  if (tensors[inputs[0] as number]?.type === 'bfloat16') return 1e12 * hardware.bfloat16TeraflopsPerSecond;
  return tf32 ? 1e12 * hardware.tf32TeraflopsPerSecond : float32Rate(hardware);
}

function float32Rate({ float32TeraflopsPerSecond }: Hardware): number {
  return 1e12 * float32TeraflopsPerSecond;
}

function chosenPhases(convolution: MixedConvolution, choice: MixedChoice, rate: number): Phase[] {
  if (choice.kernel === 'depth-wise') return [fusedPhase(convolution, rate)];
  if (choice.kernel !== 'fused') return assembledPhases(convolution, choice, rate);
  return [rereading({ ...fusedPhase(convolution, rate), flops: fusedFlops(convolution) }, choice)];
}

function rereading(phase: Phase, { rereadBytes, rereadsMemory }: MixedChoice): Phase {
  const { memoryBytes, l2Bytes } = phase;
  return { ...phase, memoryBytes: memoryBytes + (rereadsMemory ? rereadBytes : 0), l2Bytes: l2Bytes + rereadBytes };
}

/** What is computed with a tile's padding: cells and channels to multiples of 16, positions to the tile's rows; and with a mixing for each tile. */
function fusedFlops(convolution: MixedConvolution): number {
  const { direction, cells, positions, mixingFlops, convolutionFlops } = convolution;
  const padded = (Math.ceil(cells / 16) * 16) / cells;
  if (direction === 'mixing') return 2 * mixingFlops * padded + convolutionFlops;
  const tiles = Math.ceil(positions / fusedTile(convolution).positions);
  const rows = Math.ceil(positions / tiles / 8) * 8 * tiles;
  return mixingFlops * padded * tiles + (convolutionFlops * rows) / positions;
}

/** Every tensor once, weights never. */
function fusedPhase(convolution: MixedConvolution, rate: number): Phase {
  const { direction, mixingFlops, convolutionFlops } = convolution;
  const bytes = activationBytes(convolution) + mixedBytes(convolution);
  return { flops: (direction === 'mixing' ? 2 : 1) * mixingFlops + convolutionFlops, rate, memoryBytes: bytes, l2Bytes: bytes };
}

/** Mixing and convolving; of the gradient its products with the cells and the attention, and the convolution before them. */
function assembledPhases(convolution: MixedConvolution, choice: MixedChoice, rate: number): Phase[] {
  const { direction, mixingFlops, convolutionFlops } = convolution;
  const phase = (flops: number, once: number, weightUses: number): Phase => {
    const stored = weightUses * choice.storedBytes;
    return { flops, rate, memoryBytes: once + (choice.kernel === 'in memory' ? stored : 0), l2Bytes: once + stored };
  };
  const products = direction === 'mixing' ? 2 : 1;
  const mixing = phase(products * mixingFlops, mixedBytes(convolution), products);
  const convolving = phase(convolutionFlops, activationBytes(convolution), 1);
  return choice.kernel === 'by channels' ? [mixing, rereading(convolving, choice)] : [rereading(mixing, choice), convolving];
}

/** Cells and attention, and their gradients where the step gives them. */
function mixedBytes({ direction, cellElements, elementBytes, attentionBytes, otherBytes }: MixedConvolution): number {
  return cellElements * elementBytes + attentionBytes + (direction === 'mixing' ? otherBytes : 0);
}

/** What the convolution itself reads and writes, besides its weights. */
function activationBytes({ direction, sourceBytes, resultBytes, otherBytes }: MixedConvolution): number {
  return sourceBytes + resultBytes + (direction === 'mixing' ? 0 : otherBytes);
}

function boundOf(
  phases: readonly Phase[],
  { memoryTerabytesPerSecond, l2TerabytesPerSecond }: Hardware,
): Pick<StepBound, 'memoryBytes' | 'l2Bytes' | 'boundMicroseconds' | 'boundBy'> {
  const bound = { memoryBytes: 0, l2Bytes: 0, boundMicroseconds: 0 };
  const bindingFor = new Map<Resource, number>();
  for (const { flops, rate, memoryBytes, l2Bytes } of phases) {
    const times: Record<Resource, number> = {
      arithmetic: (1e6 * flops) / rate,
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

/** Statistics are known only after a first pass; an attention has two products that depend on each other. */
const launchCounts: ReadonlyMap<string, number> = new Map([
  ['batch_norm', 2],
  ['batch_norm_backward', 2],
  ['attention_module', 2],
]);

function launchesOf(op: string): number {
  return launchCounts.get(op) ?? 1;
}

function mixedLaunches({ direction }: MixedConvolution, { kernel, pieces }: MixedChoice): number {
  if (kernel === 'fused' || kernel === 'depth-wise') return 1;
  return pieces * (direction === 'mixing' ? 3 : 2);
}
