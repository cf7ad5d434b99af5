/** MobileNetV2 (Sandler et al., 2018), written once; the convolution factory is injected. */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { relu6 } from '../graph/ops/relu6.js';
import { dropoutLayer, dropPathLayer } from '../layers/dropout.js';
import { type ConvolutionFactory, type ConvolutionSpecOptions, convolutionSpec, type LayerContext } from '../layers/layer.js';
import { batchNormLayer } from '../layers/normalization.js';
import { invertedResidualStages, sharingName } from '../warehouse/index.js';
import type { BuildOptions, Network } from './network.js';

interface Row {
  readonly expansion: number;
  readonly width: number;
  readonly blocks: number;
  readonly stride: number;
  /** Warehouse stage, see `invertedResidualStages`. */
  readonly stage: number;
}

const rows: readonly Row[] = [
  { expansion: 1, width: 16, blocks: 1, stride: 1, stage: 1 },
  { expansion: 6, width: 24, blocks: 2, stride: 2, stage: 2 },
  { expansion: 6, width: 32, blocks: 3, stride: 2, stage: 3 },
  { expansion: 6, width: 64, blocks: 4, stride: 2, stage: 4 },
  { expansion: 6, width: 96, blocks: 3, stride: 1, stage: 5 },
  { expansion: 6, width: 160, blocks: 3, stride: 2, stage: 6 },
  { expansion: 6, width: 320, blocks: 1, stride: 1, stage: 6 },
];

const stemWidth = 32;
const headWidth = 1280;
const classifierDeviation = 0.01;

/** Channels, rounded as the authors do: to a multiple of 8, at least 8, never down by more than 10 %. */
function roundedChannels(channelCount: number): number {
  const rounded = Math.max(8, Math.floor((channelCount + 4) / 8) * 8);
  return rounded < 0.9 * channelCount ? rounded + 8 : rounded;
}

interface Shape extends Pick<ConvolutionSpecOptions, 'outChannels' | 'groups' | 'sharingName' | 'role'> {
  readonly kernel?: number;
  readonly stride?: number;
}

interface MobileNetContext extends LayerContext {
  readonly convolution: ConvolutionFactory;
  /** Whether the point-wise convolutions of a stage may be dynamic. */
  readonly isPointwiseShared: (stage: number) => boolean;
}

/** A convolution and its BatchNorm, `<name>.0` and `<name>.1` when followed by a ReLU6. */
function convolutionNorm(context: MobileNetContext, x: Value, names: readonly [string, string], { kernel = 1, ...shape }: Shape): Value {
  const spec = convolutionSpec({ name: names[0], inChannels: channels(x), kernel, padding: (kernel - 1) / 2, ...shape });
  return batchNormLayer(context, context.convolution(context, x, spec), names[1]);
}

function convolutionNormRelu(context: MobileNetContext, x: Value, name: string, shape: Shape): Value {
  const y = convolutionNorm(context, x, [`${name}.0`, `${name}.1`], shape);
  return context.graph.labelled(name, () => relu6(y));
}

interface BlockShape {
  readonly outChannels: number;
  readonly expansion: number;
  readonly stride: number;
  readonly stage: number;
  readonly layer: number;
}

function invertedResidual(context: MobileNetContext, x: Value, name: string, block: BlockShape, dropPath: number): Value {
  const { outChannels, expansion, stride, stage, layer } = block;
  const hidden = channels(x) * expansion;
  const pointwise = (convolution: string) =>
    context.isPointwiseShared(stage) ? { sharingName: sharingName(stage, layer, convolution) } : {};
  let y = x;
  let index = 0;
  if (expansion > 1) y = convolutionNormRelu(context, y, `${name}.${index++}`, { outChannels: hidden, ...pointwise('pwconv0') });
  y = convolutionNormRelu(context, y, `${name}.${index++}`, {
    outChannels: hidden,
    kernel: 3,
    stride,
    groups: hidden,
    sharingName: sharingName(stage, layer, 'dwconv0'),
  });
  y = convolutionNorm(context, y, [`${name}.${index}`, `${name}.${index + 1}`], { outChannels, ...pointwise('pwconv1') });
  if (stride > 1 || channels(x) !== outChannels) return y;
  return context.graph.labelled(name, () => add(x, dropPathLayer(context, y, dropPath)));
}

/** The classifier: a plain linear layer or, in the 1/2x network, one that uses a warehouse. */
function classifier(context: MobileNetContext, features: Value, { classes, naming }: BuildOptions, isShared: boolean): Value {
  const spec = { kind: 'linear', inChannels: channels(features), outChannels: classes, bias: true, role: 'classifier' } as const;
  const name = isShared || naming === 'static' ? 'classifier.1' : 'classifier';
  const own = isShared ? { sharingName: 'classifier' } : { deviation: classifierDeviation };
  return context.convolution(context, features, convolutionSpec({ ...spec, ...own, name }));
}

function builder(width: number, isHalf: boolean): Network['build'] {
  const positions = invertedResidualStages(rows);
  return (layers, x, convolution, options) => {
    const context: MobileNetContext = { ...layers, convolution, isPointwiseShared: (stage) => !isHalf || stage === 6 };
    let y = convolutionNormRelu(context, x, 'features.0', {
      outChannels: roundedChannels(stemWidth * width),
      kernel: 3,
      stride: options.stem === 'large' ? 2 : 1,
      sharingName: 'stage0_conv0',
      role: 'stem',
    });
    let index = 1;
    const stages: Value[] = [];
    for (const row of rows) {
      // A stage ends where the next row halves the resolution.
      if (row.stride > 1) stages.push(y);
      for (let block = 0; block < row.blocks; block++) {
        const shape = { ...row, ...(positions[index - 1] as (typeof positions)[number]), outChannels: roundedChannels(row.width * width) };
        const stride = block === 0 ? row.stride : 1;
        y = invertedResidual(context, y, `features.${index++}.conv`, { ...shape, stride }, options.dropPath);
      }
    }
    const { stage, layer } = positions[index - 1] as (typeof positions)[number];
    y = convolutionNormRelu(context, y, `features.${index}`, {
      outChannels: roundedChannels(headWidth * Math.max(1, width)),
      sharingName: sharingName(stage, layer, 'pwconv1'),
    });
    stages.push(y);
    const pooled = context.graph.labelled('avgpool', () => globalAvgPool(y));
    const kept = dropoutLayer(context, pooled, options.dropout);
    return { logits: classifier(context, kept, options, isHalf), stages };
  };
}

/** MobileNetV2 with a width multiplier; KernelWarehouse takes every convolution. */
export function mobileNetV2(width: number): Network {
  return {
    build: builder(width, false),
    warehouse: { sharingRange: ['layer', 'pwconv'] },
    // A block is added to its own input, so there are no shortcut convolutions to tell.
    tells: ['stem', 'shortcut', 'classifier'],
    // The paper's counts (Table 4) require it; ODConv's own MobileNetV2 keeps the stem static.
    methodDefaults: { odconv: { stem: true } },
    stems: ['large', 'small'],
  };
}

/**
 * The 1/2x variant, with the ratios in the authors' code: depth-wise convolutions, the point-wise ones of the last stage and the classifier
 * are dynamic (paper, appendix A.3).
 */
export function halfMobileNetV2(width: number): Network {
  return {
    build: builder(width, true),
    warehouse: {
      reduction: 1 / 32,
      budget: [1, 1, 1, 1, 1, 1, 0.5, 1, 0.5, 0.5],
      cellInRatio: [1, 1, 1, 1, 1, 1, 0.5, 1, 0.5, 0.025],
      cellOutRatio: [1, 1, 1, 1, 1, 1, 0.5, 1, 0.5, 1],
      sharingRange: 'layer',
    },
    stems: ['large', 'small'],
  };
}
