/**
 * Which CUDA kernel runs each step other than mixed convolutions, if NVIDIA's libraries are installed; and how many kernels each step
 * launches.
 */
import { elements } from '../../graph/operation.js';
import { elementBytes, type Plan, type PlanStep, type PlanTensor } from '../../plan/plan.js';
import type { MixedChoice } from './kernel_choice.js';
import type { MixedConvolution } from './mixed_convolution.js';

/**
 * `own` and `depth-wise` are kernels of ours, for products and convolutions that the libraries do not serve. `pass` is a kernel that only
 * passes over its tensors.
 */
export type PlainKernel = 'cuDNN' | 'cuBLASLt' | 'own' | 'depth-wise' | 'pass';

/** From this many positions on, a convolution with a weight for each sample is faster as a product of a library. */
const leastPositions = 196;

export function plainKernel(plan: Plan, step: PlanStep, tf32: boolean): PlainKernel {
  if (/^(normalized_|samplewise_)?conv[23]d/.test(step.op)) return convolutionKernel(plan, step, tf32);
  if (step.op === 'matmul') return 'cuBLASLt';
  return /^(self_attention|mix_cells)/.test(step.op) ? 'own' : 'pass';
}

function convolutionKernel({ tensors }: Plan, { op, inputs, outputs, attributes }: PlanStep, tf32: boolean): PlainKernel {
  const [first, second, written] = [inputs[0], inputs[1], outputs[0]].map((index) => tensors[index as number]) as [
    PlanTensor,
    PlanTensor,
    PlanTensor,
  ];
  const { groups, stride, padding, kernel } = attributes as Record<'stride' | 'padding' | 'kernel', number[]> & { groups: number };
  const hasWeight = !op.endsWith('_backward_weight');
  const sharesWeight = !op.startsWith('samplewise_');
  const result = hasWeight ? written : second;
  const channels = [first, result].map(({ shape }) => shape.at(-1) as number);
  const isAligned = channels.every((count) => (count * elementBytes[first.type]) % 16 === 0);
  if (groups > 1) return isAligned && channels.every((count) => count === groups) ? 'depth-wise' : 'own';
  const taps = hasWeight ? second.shape.slice(sharesWeight ? 1 : 2, -1) : kernel;
  const isPointwise = elements(taps) === 1 && elements(stride) === 1 && padding.every((size) => size === 0);
  const isWide = sharesWeight || elements(result.shape.slice(1, -1)) >= leastPositions;
  if (isPointwise && isAligned && isWide && !op.startsWith('normalized_')) return 'cuBLASLt';
  // cuDNN's float32 kernels are no faster than ours.
  return sharesWeight && (first.type === 'bfloat16' || tf32) ? 'cuDNN' : 'own';
}

const launchCounts: ReadonlyMap<string, number> = new Map([
  ['cross_entropy', 2],
  ['layer_norm_backward', 3],
  ['self_attention_backward', 3],
]);

/** Up to so many rows, BatchNorm takes one kernel; for more, two kernels sum before the pass. */
const fewRows = 1024;

/** Kernels that a step without mixing launches, not counting those that add up split sums. */
export function plainLaunches({ tensors }: Plan, { op, inputs }: PlanStep, kernel: PlainKernel): number {
  if (op === 'batch_norm' || op === 'batch_norm_backward') {
    const { shape } = tensors[inputs[0] as number] as PlanTensor;
    return elements(shape.slice(0, -1)) <= fewRows ? 1 : 3;
  }
  // Other norms than a fixed BatchNorm are a kernel of their own between the two products.
  if (op === 'attention_module') return tensors[inputs[5] as number] ? 2 : 3;
  if (op === 'normalized_conv2d' && kernel === 'cuDNN') return 2; // computes its factors first
  return launchCounts.get(op) ?? 1;
}

/**
 * The same for a mixed convolution: its attention is converted, then each chunk is mixed and convolved, or takes the four products of the
 * gradient.
 */
export function mixedLaunches({ direction, samples, shape, givesMeans }: MixedConvolution, { kernel, samplesAtOnce }: MixedChoice): number {
  if (kernel === 'fused') return 2;
  const sumsMeans = givesMeans && elements(shape.outSize) > 64;
  return 1 + Math.ceil(samples / samplesAtOnce) * (direction === 'mixing' ? 4 : sumsMeans ? 3 : 2);
}
