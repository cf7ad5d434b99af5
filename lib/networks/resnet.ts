/** ResNet-18 and ResNet-50 (He et al., 2016), written once; the convolution factory is injected. */
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { maxPool2d } from '../graph/ops/max_pool2d.js';
import { relu } from '../graph/ops/relu.js';
import { dropoutLayer, dropPathLayer } from '../layers/dropout.js';
import {
  type BlockPlace,
  type ConvolutionFactory,
  type ConvolutionSpec,
  convolutionSpec,
  type LayerContext,
  type Recalibration,
} from '../layers/layer.js';
import { batchNormLayer } from '../layers/normalization.js';
import { residualSharingName } from '../warehouse/index.js';
import type { Network, Stem } from './network.js';

interface BlockContext extends LayerContext {
  readonly convolution: ConvolutionFactory;
  readonly recalibration: Recalibration | undefined;
  readonly dropPath: number;
  /** Official name of the block, such as `layer2.0`. */
  readonly name: string;
  /** The place for warehouse sharing of the block's convolutions; undefined if the authors keep one static. */
  readonly sharing: (convolution: number | 'shortcut') => Pick<ConvolutionSpec, 'sharingName'>;
}

interface Block {
  readonly expansion: number;
  readonly build: (context: BlockContext, x: Value, planes: number, stride: number) => Value;
}

interface ConvolutionShape {
  readonly outChannels: number;
  readonly kernel: number;
  readonly stride?: number;
}

/** A convolution and the BatchNorm after it. */
function convolutionAndNorm(
  context: BlockContext,
  x: Value,
  [convolution, norm]: readonly [convolution: string, norm: string],
  shape: ConvolutionShape,
  place: Pick<ConvolutionSpec, 'sharingName' | 'createdBefore' | 'role' | 'block'>,
): Value {
  const spec = convolutionSpec({ name: convolution, inChannels: channels(x), padding: (shape.kernel - 1) / 2, ...shape, ...place });
  return batchNormLayer(context, context.convolution(context, x, spec), norm);
}

/** A strided 1x1 convolution if the shape changes, otherwise x itself. */
function shortcut(context: BlockContext, block: BlockPlace, outChannels: number, stride: number): Value {
  const { input: x } = block;
  if (stride === 1 && channels(x) === outChannels) return x;
  const names = [`${context.name}.downsample.0`, `${context.name}.downsample.1`] as const;
  const place = { ...context.sharing('shortcut'), createdBefore: `${context.name}.conv1`, role: 'shortcut', block } as const;
  return convolutionAndNorm(context, x, names, { outChannels, kernel: 1, stride }, place);
}

/** The convolutions of a block with a ReLU between them, added to its shortcut. */
function residual(context: BlockContext, x: Value, shapes: readonly ConvolutionShape[], stride: number): Value {
  const { graph, name, dropPath, recalibration } = context;
  const block = { name, input: x };
  let y = x;
  shapes.forEach((shape, index) => {
    const norm = `${name}.bn${index + 1}`;
    y = convolutionAndNorm(context, y, [`${name}.conv${index + 1}`, norm], shape, { ...context.sharing(index), block });
    if (index < shapes.length - 1) y = graph.labelled(norm, () => relu(y));
  });
  if (recalibration) y = recalibration(context, y, name);
  const identity = shortcut(context, block, channels(y), stride);
  return graph.labelled(name, () => relu(add(identity, dropPathLayer(context, y, dropPath))));
}

const basicBlock: Block = {
  expansion: 1,
  build: (context, x, planes, stride) =>
    residual(
      context,
      x,
      [
        { outChannels: planes, kernel: 3, stride },
        { outChannels: planes, kernel: 3 },
      ],
      stride,
    ),
};

const bottleneck: Block = {
  expansion: 4,
  build: (context, x, planes, stride) =>
    residual(
      context,
      x,
      [
        { outChannels: planes, kernel: 1 },
        { outChannels: planes, kernel: 3, stride },
        { outChannels: 4 * planes, kernel: 1 },
      ],
      stride,
    ),
};

/** The stem for large images (7x7 stride 2, max pooling: a quarter of the size), or for small ones (3x3 stride 1: the full size). */
function stem(context: LayerContext, x: Value, convolution: ConvolutionFactory, kind: Stem): Value {
  const large = kind === 'large';
  const spec = convolutionSpec({
    name: 'conv1',
    inChannels: channels(x),
    outChannels: 64,
    role: 'stem',
    ...(large ? { kernel: 7, stride: 2, padding: 3 } : { kernel: 3, stride: 1, padding: 1 }),
  });
  const y = batchNormLayer(context, convolution(context, x, spec), 'bn1');
  return context.graph.labelled('bn1', () => (large ? maxPool2d(relu(y), 3, 2, 1) : relu(y)));
}

function resnet(block: Block, blocks: readonly number[]): Network['build'] {
  return (context, x, convolution, options) => {
    const { recalibration, dropPath } = options;
    let y = stem(context, x, convolution, options.stem);
    const stages: Value[] = [];
    blocks.forEach((count, stage) => {
      for (let index = 0; index < count; index++) {
        const sharing = (convolution: number | 'shortcut') => {
          const sharingName = residualSharingName({ stage, block: index, convolution }, blocks, block.expansion > 1);
          return sharingName === undefined ? {} : { sharingName };
        };
        const blockContext = { ...context, convolution, recalibration, dropPath, name: `layer${stage + 1}.${index}`, sharing };
        y = block.build(blockContext, y, 64 << stage, index === 0 && stage > 0 ? 2 : 1);
      }
      stages.push(y);
    });
    const features = context.graph.labelled('avgpool', () => globalAvgPool(y));
    const kept = dropoutLayer(context, features, options.dropout);
    const classifier = { name: 'fc', kind: 'linear', inChannels: channels(kept), outChannels: options.classes, bias: true } as const;
    return { logits: convolution(context, kept, convolutionSpec({ ...classifier, role: 'classifier' })), stages };
  };
}

function network(block: Block, blocks: readonly number[]): Network {
  return {
    build: resnet(block, blocks),
    warehouse: { sharingRange: ['layer', 'conv'] },
    tells: ['stem', 'shortcut', 'classifier', 'block', 'recalibration'],
    stems: ['large', 'small'],
  };
}

export const resnet18 = network(basicBlock, [2, 2, 2, 2]);
export const resnet50 = network(bottleneck, [3, 4, 6, 3]);
