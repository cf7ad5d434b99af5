/** Drawn runs of the convolutions and of mixing. */
import type { Draw, Sample } from './draw.js';

type Pair = [number, number];

interface DrawnConvolution {
  readonly x: number[];
  readonly y: number[];
  readonly kernel: number[];
  readonly inputSize: number[];
  readonly outChannels: number;
  readonly channelsPerGroup: number;
  readonly weight: number[];
  readonly attributes: { stride: number[]; padding: number[]; dilation: number[]; groups: number };
}

/** One of plain, grouped and depth-wise. The kernel may reach into the padding, and the stride may leave the input's last rows unread. */
function drawConvolution(
  draw: Draw,
  dimensions: 2 | 3,
  perGroup?: { readonly in: number; readonly out: number; readonly kernel: Pair },
): DrawnConvolution {
  const kind = perGroup ? 'grouped' : draw.choice(['plain', 'grouped', 'depthwise']);
  const groups = kind === 'plain' ? 1 : kind === 'grouped' ? draw.integer(1, 3) : draw.channels();
  const channelsPerGroup = perGroup?.in ?? (kind === 'depthwise' ? 1 : draw.channels());
  const outChannels = groups * (perGroup?.out ?? (kind === 'depthwise' ? draw.integer(1, 2) : draw.channels()));
  const each = (min: number, max: number) => Array.from({ length: dimensions }, () => draw.integer(min, max));
  const kernel = perGroup ? [...perGroup.kernel] : each(1, 3);
  const attributes = { stride: each(1, 2), padding: each(0, 2), dilation: each(1, 2), groups };
  const axes = kernel.map((size, i) => {
    const [stride, padding, dilation] = [attributes.stride[i]!, attributes.padding[i]!, attributes.dilation[i]!];
    const span = dilation * (size - 1) + 1;
    const input = Math.max(1, span - 2 * padding) + draw.integer(0, dimensions === 2 ? 4 : 2);
    return { input, output: Math.floor((input + 2 * padding - span) / stride) + 1 };
  });
  const samples = draw.integer(1, 3);
  const inputSize = axes.map(({ input }) => input);
  return {
    x: [samples, ...inputSize, channelsPerGroup * groups],
    y: [samples, ...axes.map(({ output }) => output), outChannels],
    kernel,
    outChannels,
    channelsPerGroup,
    attributes,
    inputSize,
    weight: [outChannels, ...kernel, channelsPerGroup],
  };
}

function weightOf(convolution: DrawnConvolution, samplewise: boolean): number[] {
  return samplewise ? [convolution.x[0]!, ...convolution.weight] : convolution.weight;
}

function forward(dimensions: 2 | 3, samplewise: boolean): (draw: Draw) => Sample {
  return (draw) => {
    const convolution = drawConvolution(draw, dimensions);
    const bias = draw.boolean() ? draw.tensor([convolution.outChannels]) : undefined;
    return {
      inputs: [draw.tensor(convolution.x), draw.tensor(weightOf(convolution, samplewise)), bias],
      attributes: convolution.attributes,
      differentiable: bias ? [0, 1, 2] : [0, 1],
    };
  };
}

function backwardInput(dimensions: 2 | 3, samplewise: boolean): (draw: Draw) => Sample {
  return (draw) => {
    const convolution = drawConvolution(draw, dimensions);
    const { attributes, inputSize, y } = convolution;
    return { inputs: [draw.tensor(y), draw.tensor(weightOf(convolution, samplewise))], attributes: { ...attributes, inputSize } };
  };
}

function backwardWeight(dimensions: 2 | 3): (draw: Draw) => Sample {
  return (draw) => {
    const { attributes, kernel, x, y } = drawConvolution(draw, dimensions);
    return { inputs: [draw.tensor(x), draw.tensor(y)], attributes: { ...attributes, kernel } };
  };
}

function convolutions(name: string, dimensions: 2 | 3, samplewise: boolean): Record<string, (draw: Draw) => Sample> {
  return {
    [name]: forward(dimensions, samplewise),
    [`${name}_backward_input`]: backwardInput(dimensions, samplewise),
    [`${name}_backward_weight`]: backwardWeight(dimensions),
  };
}

interface DrawnMixing {
  readonly cells: number[];
  readonly mixtures: number;
  readonly attributes: { outChannels: number; inChannels: number; kernel: Pair };
}

/** Cells of one kernel position, of part of the kernel, or of all of it. */
function drawMixing(draw: Draw, outMultiple = 1): DrawnMixing {
  const [fe, ce] = [draw.channels(), draw.channels()];
  const cellKernel: Pair = [draw.integer(1, 2), draw.integer(1, 2)];
  const grid: Pair = [draw.integer(1, 2), draw.integer(1, 2)];
  const [outGrid, inGrid] = [outMultiple * draw.integer(1, 2), draw.integer(1, 2)];
  return {
    cells: [draw.integer(1, 6), fe, ...cellKernel, ce],
    mixtures: grid[0] * grid[1] * outGrid * inGrid,
    attributes: { outChannels: fe * outGrid, inChannels: ce * inGrid, kernel: [cellKernel[0] * grid[0], cellKernel[1] * grid[1]] },
  };
}

function mixedWeight({ attributes: { outChannels, inChannels, kernel } }: DrawnMixing, samples: number): number[] {
  return [samples, outChannels, ...kernel, inChannels];
}

function mixCells(draw: Draw): Sample {
  const mixing = drawMixing(draw);
  const attention = draw.tensor([draw.integer(1, 3), mixing.mixtures, mixing.cells[0]!]);
  return { inputs: [attention, draw.tensor(mixing.cells)], attributes: mixing.attributes, differentiable: [0, 1] };
}

function mixCellsBackwardAttention(draw: Draw): Sample {
  const mixing = drawMixing(draw);
  return { inputs: [draw.tensor(mixedWeight(mixing, draw.integer(1, 3))), draw.tensor(mixing.cells)], attributes: mixing.attributes };
}

function mixCellsBackwardCells(draw: Draw): Sample {
  const mixing = drawMixing(draw);
  const samples = draw.integer(1, 3);
  return {
    inputs: [draw.tensor(mixedWeight(mixing, samples)), draw.tensor([samples, mixing.mixtures, mixing.cells[0]!])],
    attributes: { ...mixing.attributes, cellShape: mixing.cells },
  };
}

/** A mixing whose weight fits a grouped convolution, and that convolution. */
function drawMixedConvolution(draw: Draw) {
  const groups = draw.choice([1, 1, 2, 3]);
  const mixing = drawMixing(draw, groups);
  const { inChannels, outChannels, kernel } = mixing.attributes;
  const drawn = drawConvolution(draw, 2, { in: inChannels, out: outChannels, kernel });
  const x = [...drawn.x.slice(0, 3), inChannels * groups];
  const y = [...drawn.y.slice(0, 3), outChannels];
  return {
    x,
    y,
    inputSize: drawn.inputSize,
    attention: [x[0]!, mixing.mixtures, mixing.cells[0]!],
    cells: mixing.cells,
    outChannels,
    attributes: { ...drawn.attributes, groups, outChannels, kernel },
  };
}

function mixedConv2d(draw: Draw): Sample {
  const { x, attention, cells, outChannels, attributes } = drawMixedConvolution(draw);
  const bias = draw.boolean() ? draw.tensor([outChannels]) : undefined;
  return { inputs: [draw.tensor(x), draw.tensor(attention), draw.tensor(cells), bias], attributes };
}

function mixedConv2dBackwardInput(draw: Draw): Sample {
  const { x, y, attention, cells, inputSize, attributes } = drawMixedConvolution(draw);
  return {
    inputs: [draw.tensor(y), draw.tensor(attention), draw.tensor(cells)],
    attributes: { ...attributes, inputSize, inChannels: x[3] },
  };
}

function mixedConv2dBackwardMixing(draw: Draw): Sample {
  const { x, y, attention, cells, attributes } = drawMixedConvolution(draw);
  const accumulator = draw.boolean() ? draw.tensor(cells) : undefined;
  return { inputs: [draw.tensor(x), draw.tensor(y), draw.tensor(attention), draw.tensor(cells), accumulator], attributes };
}

/** A BatchNorm with given statistics, perhaps a residual, and an activation, after a convolution's own inputs, a bias the last. */
function normalized(draw: Draw, { inputs, attributes }: Sample, y: readonly number[]): Sample {
  const channels = [y.at(-1)!];
  const norm = [draw.tensor(channels), draw.tensor(channels), draw.tensor(channels), draw.tensor(channels, 0, 2)];
  const residual = draw.boolean() ? draw.tensor(y, -2, 8) : undefined;
  const activation = draw.choice(['none', 'relu', 'relu6']);
  return { inputs: [...inputs, ...norm, residual], attributes: { ...attributes, epsilon: 1e-5, activation, means: draw.boolean() } };
}

function normalizedConv2d(draw: Draw): Sample {
  const { x, y, weight, outChannels, attributes } = drawConvolution(draw, 2);
  const bias = draw.boolean() ? draw.tensor([outChannels]) : undefined;
  return normalized(draw, { inputs: [draw.tensor(x), draw.tensor(weight), bias], attributes }, y);
}

function normalizedMixedConv2d(draw: Draw): Sample {
  const { x, y, attention, cells, outChannels, attributes } = drawMixedConvolution(draw);
  const bias = draw.boolean() ? draw.tensor([outChannels]) : undefined;
  return normalized(draw, { inputs: [draw.tensor(x), draw.tensor(attention), draw.tensor(cells), bias], attributes }, y);
}

export const convolutionSamples: Readonly<Record<string, (draw: Draw) => Sample>> = {
  ...convolutions('conv2d', 2, false),
  ...convolutions('conv3d', 3, false),
  ...convolutions('samplewise_conv2d', 2, true),
  ...convolutions('samplewise_conv3d', 3, true),
  mix_cells: mixCells,
  mix_cells_backward_attention: mixCellsBackwardAttention,
  mix_cells_backward_cells: mixCellsBackwardCells,
  mixed_conv2d: mixedConv2d,
  mixed_conv2d_backward_input: mixedConv2dBackwardInput,
  mixed_conv2d_backward_mixing: mixedConv2dBackwardMixing,
  normalized_conv2d: normalizedConv2d,
  normalized_mixed_conv2d: normalizedMixedConv2d,
};
