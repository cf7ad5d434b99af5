/** The sizes of a mixed convolution, read from a step of a plan. They determine its kernel and its bound. */
import { bytesOf, elements } from '../../graph/operation.js';
import { elementBytes, type Plan, type PlanStep, type PlanTensor } from '../../plan/plan.js';
import { computedCost } from '../step_costs.js';

/** `forward` computes y from x, `input` dx from dy, `mixing` the gradients of attention and cells. */
export type Direction = 'forward' | 'input' | 'mixing';

const directions: ReadonlyMap<string, Direction> = new Map([
  ['mixed_conv2d', 'forward'],
  ['normalized_mixed_conv2d', 'forward'],
  ['mixed_conv2d_backward_input', 'input'],
  ['mixed_conv2d_backward_mixing', 'mixing'],
]);

/** The sizes that decide its kernel, with the direction and the type of the products. */
export interface MixedShape {
  readonly inChannels: number;
  readonly outChannels: number;
  readonly groups: number;
  /** Of x and of y: height and width, as below. */
  readonly size: readonly number[];
  readonly outSize: readonly number[];
  readonly kernel: readonly number[];
  readonly stride: readonly number[];
  readonly dilation: readonly number[];
  /** [n,fe,keh,kew,ce]. */
  readonly cells: readonly number[];
}

/**
 * A convolution whose weights are mixed for each sample. `source` is multiplied by the weights, and `result` is what comes out: x and y, or
 * dy and dx for `input`; for `mixing` they are the two factors of the weights' gradient, x and dy. Cells and mixed weights are counted in
 * the type of the products.
 */
export interface MixedConvolution {
  readonly direction: Direction;
  readonly shape: MixedShape;
  readonly samples: number;
  /** Bytes of an element in the type of the products. */
  readonly elementBytes: number;
  /** Elements of all cells together. */
  readonly cellElements: number;
  readonly sourceBytes: number;
  readonly resultBytes: number;
  readonly attentionBytes: number;
  /** All other inputs and outputs: residual, statistics, means; for `mixing` both gradients and what they are added to. */
  readonly otherBytes: number;
  /** Whether the means of y over its positions are an output too. */
  readonly givesMeans: boolean;
  /** Operations for mixing the weights of all samples once; a multiply-add counts as two. */
  readonly mixingFlops: number;
  /** Operations of the convolution itself and of what follows it in the step. */
  readonly convolutionFlops: number;
}

/** Elements of the mixed weight of one sample. */
export function weightElements({ outChannels, kernel, inChannels, groups }: MixedShape): number {
  return (outChannels * elements(kernel) * inChannels) / groups;
}

/** Whether each channel is convolved on its own. */
export function isDepthwise({ inChannels, outChannels, groups }: MixedShape): boolean {
  return inChannels === groups && outChannels === groups;
}

/** Undefined if the step is not a mixed convolution. */
export function mixedConvolution(plan: Plan, step: PlanStep): MixedConvolution | undefined {
  const direction = directions.get(step.op);
  if (direction === undefined) return undefined;
  const inputAt = (position: number) => plan.tensors[step.inputs[position] as number] as PlanTensor;
  const source = inputAt(0);
  const result = direction === 'mixing' ? inputAt(1) : (plan.tensors[step.outputs[0] as number] as PlanTensor);
  const [attention, cells] = direction === 'mixing' ? [inputAt(2), inputAt(3)] : [inputAt(1), inputAt(2)];
  const [x, y] = direction === 'input' ? [result, source] : [source, result];
  const { groups, kernel, stride, dilation } = step.attributes as Pick<MixedShape, 'groups' | 'kernel' | 'stride' | 'dilation'>;
  const [inChannels, outChannels] = [x, y].map(({ shape }) => shape.at(-1)) as [number, number];
  const [size, outSize] = [x, y].map(({ shape }) => shape.slice(1, -1)) as [number[], number[]];
  const shape = { inChannels, outChannels, groups, size, outSize, kernel, stride, dilation, cells: cells.shape };
  const [samples] = attention.shape as [number];
  const mixingFlops = 2 * (cells.shape[0] as number) * weightElements(shape) * samples;
  const { flops, bytes } = computedCost(plan, step);
  const [sourceBytes, resultBytes, attentionBytes] = [bytesOf(source), bytesOf(result), bytesOf(attention)];
  const cellElements = elements(cells.shape);
  const typeBytes = elementBytes[source.type];
  return {
    direction,
    shape,
    samples,
    elementBytes: typeBytes,
    cellElements,
    sourceBytes,
    resultBytes,
    attentionBytes,
    otherBytes: bytes - sourceBytes - resultBytes - attentionBytes - typeBytes * cellElements,
    givesMeans: step.op === 'normalized_mixed_conv2d' && step.outputs.length > 1,
    mixingFlops,
    convolutionFlops: flops - (direction === 'mixing' ? 2 : 1) * mixingFlops,
  };
}
