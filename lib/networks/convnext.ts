/** ConvNeXt-Tiny (Liu et al., 2022), written once; the convolution factory is injected. */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { gelu } from '../graph/ops/gelu.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { multiply } from '../graph/ops/multiply.js';
import { reshape } from '../graph/ops/reshape.js';
import { linearLayer } from '../layers/convolution.js';
import { dropoutLayer, dropPathLayer } from '../layers/dropout.js';
import { type ConvolutionFactory, convolutionSpec, type LayerContext } from '../layers/layer.js';
import { layerNormLayer } from '../layers/normalization.js';
import { sharingName, stagePart } from '../warehouse/index.js';
import type { BuildOptions, Network } from './network.js';
import { pointwise } from './pointwise.js';

const depths = [3, 3, 9, 3];
const widths = [96, 192, 384, 768];
const blockCount = depths.reduce((sum, depth) => sum + depth, 0);
const epsilon = 1e-6;
/** Standard deviation of all initial weights; biases start at 0. */
const deviation = 0.02;

interface ConvNextContext extends LayerContext {
  readonly convolution: ConvolutionFactory;
  readonly options: BuildOptions;
}

/** The patches of the stem, or a norm and a convolution that halves the resolution. */
function downsample(context: ConvNextContext, x: Value, stage: number): Value {
  const { convolution } = context;
  const name = `downsample_layers.${stage}`;
  const outChannels = widths[stage] as number;
  const patch = stage === 0 ? 4 : 2;
  const spec = { outChannels, kernel: patch, stride: patch, bias: true, deviation, createdBefore: 'stages.0.0.dwconv' };
  if (stage === 0) {
    const y = convolution(
      context,
      x,
      convolutionSpec({ ...spec, name: `${name}.0`, inChannels: channels(x), sharingName: 'stagestem_conv0' }),
    );
    return layerNormLayer(context, y, `${name}.1`, epsilon);
  }
  const y = layerNormLayer(context, x, `${name}.0`, epsilon);
  const place = sharingName(stage - 1, 'ds', 'conv0');
  return convolution(context, y, convolutionSpec({ ...spec, name: `${name}.1`, inChannels: channels(y), sharingName: place }));
}

/** y times a trained factor for each channel. */
function layerScale({ graph, options: { layerScale: initial, naming } }: ConvNextContext, y: Value, name: string): Value {
  if (initial === 0) return y;
  const width = channels(y);
  const initialization = { kind: 'constant', value: initial } as const;
  const gamma =
    naming === 'static'
      ? reshape(graph.parameter(`${name}.gamma`, [width], { initialization }), [1, 1, 1, width])
      : graph.parameter(`${name}.gamma`, [1, width, 1, 1], { channelAxis: 1, initialization });
  return multiply(y, gamma);
}

function block(context: ConvNextContext, x: Value, name: string, place: (convolution: string) => string, dropPath: number): Value {
  const { graph, convolution, options } = context;
  const width = channels(x);
  const depthwise = { inChannels: width, outChannels: width, kernel: 7, padding: 3, groups: width, bias: true, deviation };
  const spec = convolutionSpec({ ...depthwise, name: `${name}.dwconv`, sharingName: place('dwconv0') });
  let y = layerNormLayer(context, convolution(context, x, spec), `${name}.norm`, epsilon);
  const perceptron = (input: Value, index: 1 | 2, outChannels: number) => {
    const shape = { name: `${name}.pwconv${index}`, outChannels, sharingName: place(`pwconv${index}`), deviation };
    return pointwise(context, input, convolution, options.naming, shape);
  };
  const hidden = perceptron(y, 1, 4 * width);
  y = perceptron(
    graph.labelled(`${name}.act`, () => gelu(hidden)),
    2,
    width,
  );
  return graph.labelled(name, () => add(x, dropPathLayer(context, layerScale(context, y, name), dropPath)));
}

/** @param isSplit whether the third stage's blocks share in three groups (paper, appendix A.3) or all together (the released code) */
function builder(isSplit: boolean): Network['build'] {
  return (layers, x, convolution, options) => {
    const context: ConvNextContext = { ...layers, convolution, options };
    const stages: Value[] = [];
    let y = x;
    let built = 0;
    depths.forEach((depth, stage) => {
      y = downsample(context, y, stage);
      for (let index = 0; index < depth; index++) {
        const part = isSplit && stage === 2 ? stagePart(stage, index, 3) : stage;
        // Deeper blocks are dropped more often; the probability rises from 0 to `dropPath`.
        const dropPath = (options.dropPath * built++) / (blockCount - 1);
        y = block(context, y, `stages.${stage}.${index}`, (name) => sharingName(part, index, name), dropPath);
      }
      stages.push(y);
    });
    const pooled = context.graph.labelled('avgpool', () => globalAvgPool(y));
    const features = layerNormLayer(context, pooled, 'norm', epsilon);
    const kept = dropoutLayer(context, features, options.dropout);
    return { logits: linearLayer(context, kept, 'head', options.classes, { deviation: deviation * options.headScale }), stages };
  };
}

/** As in the authors' code: all blocks of a stage share. */
export const convNextTiny: Network = {
  build: builder(false),
  warehouse: { sharingRange: ['layer', 'pwconv'], attentionNorm: 'layer' },
};

/** As in the paper (Table 14); only this gives its counts. */
export const splitConvNextTiny: Network = {
  build: builder(true),
  warehouse: { sharingRange: 'layer_pwconv', attentionNorm: 'layer', reduction: 1 / 32 },
};
