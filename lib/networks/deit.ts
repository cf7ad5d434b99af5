/**
 * DeiT (Touvron et al., 2021), written once; the factory of linear layers is injected. The authors of KernelWarehouse released no code for
 * it: which layers are dynamic and how they share is reconstructed from the paper's counts (Table 11).
 */
import { KernelWarehouseError } from '../errors.js';
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { addBias } from '../graph/ops/add_bias.js';
import { concat } from '../graph/ops/concat.js';
import { fill } from '../graph/ops/fill.js';
import { gelu } from '../graph/ops/gelu.js';
import { reshape } from '../graph/ops/reshape.js';
import { selfAttention } from '../graph/ops/self_attention.js';
import { slice } from '../graph/ops/slice.js';
import { linearLayer, staticConvolution } from '../layers/convolution.js';
import { dropoutLayer, dropPathLayer } from '../layers/dropout.js';
import { type ConvolutionFactory, convolutionSpec, type LayerContext } from '../layers/layer.js';
import { layerNormLayer } from '../layers/normalization.js';
import type { BuildOptions, Network } from './network.js';
import { pointwise } from './pointwise.js';

const blocks = 12;
const patch = 16;
/** Blocks that share warehouses. */
const groupSize = 3;
const epsilon = 1e-6;
/** Standard deviation of all initial weights; biases start at 0. */
const deviation = 0.02;

interface DeitContext extends LayerContext {
  readonly convolution: ConvolutionFactory;
  readonly options: BuildOptions;
  readonly heads: number;
}

function checkImages({ shape: [, height = 0, width = 0] }: Value, imageSize: number): void {
  if (imageSize % patch !== 0) {
    const nearest = Math.max(1, Math.round(imageSize / patch)) * patch;
    throw new KernelWarehouseError(
      'ERR_KW_CONFIG',
      `DeiT takes images of a multiple of ${patch} pixels, not ${imageSize}; give imageSize ${nearest}, on the command line --image-size ${nearest}`,
    );
  }
  if (height !== imageSize || width !== imageSize) {
    const size = `${imageSize}x${imageSize}`;
    // No model takes images that are not square, so only one remedy remains for them.
    const other = height === width && height % patch === 0 ? `; a model for ${height}x${width} has position embeddings of its own` : '';
    throw new KernelWarehouseError(
      'ERR_KW_SHAPE',
      `the position embeddings are for images of ${size}, but these are ${height}x${width}; ` +
        `resize them to ${size}, image files on the command line with --image-size ${imageSize}${other}`,
    );
  }
}

/** Images [N, H, W, 3] to tokens [N, 1 + HW / 16^2, width], with position embeddings: the class token, then the patches row by row. */
function embed(context: DeitContext, x: Value, width: number): Value {
  const { graph, options } = context;
  checkImages(x, options.imageSize);
  const samples = x.shape[0] as number;
  const patches = (options.imageSize / patch) ** 2;
  const spec = {
    name: 'patch_embed.proj',
    inChannels: channels(x),
    outChannels: width,
    kernel: patch,
    stride: patch,
    bias: true,
    deviation,
  };
  const embedded = staticConvolution(context, x, convolutionSpec(spec));
  const initialization = { kind: 'normal', deviation } as const;
  return graph.labelled('embedding', () => {
    const classToken = reshape(graph.parameter('cls_token', [1, 1, width], { initialization }), [width]);
    const size = (patches + 1) * width;
    const positions = reshape(graph.parameter('pos_embed', [1, patches + 1, width], { initialization }), [size]);
    const tokens = concat([addBias(fill(graph, [samples, width], 0), classToken), reshape(embedded, [samples, patches * width])]);
    return reshape(addBias(tokens, positions), [samples, patches + 1, width]);
  });
}

/** Query, key and value of tokens x [N, T, width]; in the KernelWarehouse variant the value is a dynamic layer of its own. */
function project(context: DeitContext, x: Value, name: string, place: string): [query: Value, key: Value, value: Value] {
  const width = channels(x);
  const part = (all: Value, index: number) => context.graph.labelled(name, () => slice(all, index * width, (index + 1) * width));
  if (context.options.naming === 'static') {
    const all = linearLayer(context, x, `${name}.qkv`, 3 * width, { deviation });
    return [part(all, 0), part(all, 1), part(all, 2)];
  }
  const both = linearLayer(context, x, `${name}.qk`, 2 * width, { deviation });
  const shape = { name: `${name}.v`, outChannels: width, sharingName: place, deviation };
  return [part(both, 0), part(both, 1), pointwise(context, x, context.convolution, context.options.naming, shape)];
}

function block(context: DeitContext, x: Value, index: number): Value {
  const { graph, convolution, options, heads } = context;
  const name = `blocks.${index}`;
  const width = channels(x);
  const place = (linear: 0 | 1) => `group${Math.floor(index / groupSize)}_layer${index % groupSize}_linear${linear}`;
  const layer = (input: Value, module: string, outChannels: number, linear: 0 | 1) =>
    pointwise(context, input, convolution, options.naming, {
      name: `${name}.${module}`,
      outChannels,
      sharingName: place(linear),
      deviation,
    });
  // Deeper blocks are dropped more often; the probability rises from 0 to `dropPath`.
  const dropPath = (options.dropPath * index) / (blocks - 1);
  const joined = (branch: Value, identity: Value) => graph.labelled(name, () => add(identity, dropPathLayer(context, branch, dropPath)));

  const [query, key, value] = project(context, layerNormLayer(context, x, `${name}.norm1`, epsilon), `${name}.attn`, place(0));
  const attended = graph.labelled(`${name}.attn`, () => selfAttention(query, key, value, { heads }));
  const y = joined(layer(attended, 'attn.proj', width, 1), x);
  const hidden = layer(layerNormLayer(context, y, `${name}.norm2`, epsilon), 'mlp.fc1', 4 * width, 0);
  const active = graph.labelled(`${name}.mlp.act`, () => gelu(hidden));
  return joined(layer(active, 'mlp.fc2', width, 1), y);
}

/** Tokens first..end of x [N, T, width], side by side: [N, (end - first) * width]. */
function tokensOf(x: Value, first: number, end: number): Value {
  const [samples, count, width] = x.shape as [number, number, number];
  return slice(reshape(x, [samples, count * width]), first * width, end * width);
}

function deit(width: number, heads: number): Network {
  return {
    build(layers, x, convolution, options) {
      const context: DeitContext = { ...layers, convolution, options, heads };
      let y = embed(context, x, width);
      const rows = options.imageSize / patch;
      const samples = x.shape[0] as number;
      const stages: Value[] = [];
      for (let index = 0; index < blocks; index++) {
        y = block(context, y, index);
        if (index % groupSize < groupSize - 1) continue;
        const last = y;
        // All but the class token.
        const map = () => reshape(tokensOf(last, 1, 1 + rows * rows), [samples, rows, rows, width]);
        stages.push(context.graph.labelled(`blocks.${index}`, map));
      }
      const normalized = layerNormLayer(context, y, 'norm', epsilon);
      const features = context.graph.labelled('norm', () => tokensOf(normalized, 0, 1));
      const kept = dropoutLayer(context, features, options.dropout);
      return { logits: linearLayer(context, kept, 'head', options.classes, { deviation }), stages };
    },
    warehouse: { sharingRange: ['layer', 'linear'], attentionNorm: 'layer' },
    fixedImageSize: true,
    imageSizeOf(shape) {
      const rows = Math.sqrt((shape('pos_embed')?.[1] ?? 0) - 1);
      return Number.isInteger(rows) && rows > 0 ? rows * patch : undefined;
    },
  };
}

export const deitTiny = deit(192, 3);
export const deitSmall = deit(384, 6);
