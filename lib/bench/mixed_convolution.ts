/** The sizes of a mixed convolution, read from a step of a plan: what the choice of its kernel and its bound are made of. */
import { bytesOf, elements } from '../graph/operation.js';
import { elementBytes, type Plan, type PlanStep, type PlanTensor } from '../plan/plan.js';
import { computedCost } from './step_costs.js';

/** `forward`: y of x. `input`: dx of dy. `mixing`: the gradients of attention and cells. */
export type Direction = 'forward' | 'input' | 'mixing';

const directions: ReadonlyMap<string, Direction> = new Map([
  ['mixed_conv2d', 'forward'],
  ['normalized_mixed_conv2d', 'forward'],
  ['mixed_conv2d_backward_input', 'input'],
  ['mixed_conv2d_backward_mixing', 'mixing'],
]);

/**
 * A convolution whose weights are mixed for each sample. `source` is what the weights are multiplied with, `result` what comes out of it:
 * x and y, for `input` dy and dx; for `mixing` the two factors of the weights' gradient, x and dy. Cells and assembled weights count in the
 * type that the products are computed in.
 */
export interface MixedConvolution {
  readonly direction: Direction;
  readonly samples: number;
  /** m: mixtures of a sample. */
  readonly mixtures: number;
  /** n: cells of the warehouse. */
  readonly cells: number;
  /** Bytes of an element in the type of the products. */
  readonly elementBytes: number;
  /** Elements of all cells together. */
  readonly cellElements: number;
  /** Channels of a cell on the side of `result`. */
  readonly cellChannels: number;
  /** How many cells stand beside each other in a weight on the side of `result`. */
  readonly blocks: number;
  /** Whether each channel is convolved on its own. */
  readonly depthwise: boolean;
  /** Whether a cell is one position of an ungrouped kernel, in channels of multiples of 16: the form that tiles of matrix products need. */
  readonly tiled: boolean;
  /** Elements of one sample's assembled weight. */
  readonly weightElements: number;
  /** Of `result`: in each sample, and its channels. */
  readonly positions: number;
  readonly channels: number;
  readonly sourceBytes: number;
  readonly resultBytes: number;
  readonly attentionBytes: number;
  /** All other inputs and outputs: residual, statistics, means; for `mixing` both gradients and what they are added to. */
  readonly otherBytes: number;
  /** Operations of mixing all samples' weights once, a multiply-add counting as two. */
  readonly mixingFlops: number;
  /** Operations of the convolution itself, with what follows it in the step. */
  readonly convolutionFlops: number;
}

/** Undefined where the step is no mixed convolution. */
export function mixedConvolution(plan: Plan, step: PlanStep): MixedConvolution | undefined {
  const direction = directions.get(step.op);
  if (direction === undefined) return undefined;
  const inputAt = (position: number) => plan.tensors[step.inputs[position] as number] as PlanTensor;
  const source = inputAt(0);
  const result = direction === 'mixing' ? inputAt(1) : (plan.tensors[step.outputs[0] as number] as PlanTensor);
  const [attention, cells] = direction === 'mixing' ? [inputAt(2), inputAt(3)] : [inputAt(1), inputAt(2)];
  const { groups, kernel, outChannels } = step.attributes as { groups: number; kernel: readonly number[]; outChannels: number };
  const [count, rows, height, width, columns] = cells.shape as [number, number, number, number, number];
  const [samples, mixtures] = attention.shape as [number, number];
  const backwards = direction === 'input';
  const inChannels = (backwards ? result : source).shape.at(-1) as number;
  const weightElements = (outChannels * elements(kernel) * inChannels) / groups;
  const mixingFlops = 2 * count * weightElements * samples;
  const { flops, bytes } = computedCost(plan, step);
  const [sourceBytes, resultBytes, attentionBytes] = [bytesOf(source), bytesOf(result), bytesOf(attention)];
  const cellElements = elements(cells.shape);
  const size = elementBytes[source.type];
  return {
    direction,
    samples,
    mixtures,
    cells: count,
    elementBytes: size,
    cellElements,
    cellChannels: backwards ? columns : rows,
    blocks: backwards ? inChannels / groups / columns : outChannels / rows,
    depthwise: inChannels === groups,
    tiled: groups === 1 && height * width === 1 && rows % 16 === 0 && columns % 16 === 0,
    weightElements,
    positions: elements(result.shape.slice(1, -1)),
    channels: result.shape.at(-1) as number,
    sourceBytes,
    resultBytes,
    attentionBytes,
    otherBytes: bytes - sourceBytes - resultBytes - attentionBytes - size * cellElements,
    mixingFlops,
    convolutionFlops: flops - (direction === 'mixing' ? 2 : 1) * mixingFlops,
  };
}
