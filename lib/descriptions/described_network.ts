/** A network from a description. */
import { KernelWarehouseError } from '../errors.js';
import type { Value } from '../graph/graph.js';
import { channels } from '../graph/operation.js';
import { add } from '../graph/ops/add.js';
import { gelu } from '../graph/ops/gelu.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { maxPool2d } from '../graph/ops/max_pool2d.js';
import { relu } from '../graph/ops/relu.js';
import { relu6 } from '../graph/ops/relu6.js';
import { dropoutLayer, dropPathLayer } from '../layers/dropout.js';
import { type ConvolutionFactory, convolutionSpec, type LayerContext } from '../layers/layer.js';
import { batchNormLayer, layerNormLayer } from '../layers/normalization.js';
import type { BuildOptions, Network } from '../networks/network.js';
import { type LayerDescription, type NetworkDescription, parseDescription, type ResidualDescription, type Width } from './description.js';

interface DescriptionContext extends LayerContext {
  readonly convolution: ConvolutionFactory;
  readonly options: BuildOptions;
}

const activations = { relu, relu6, gelu };

/** @param place of the layers in the description, such as `layers`; names those without a name */
function appendSequence(context: DescriptionContext, x: Value, layers: readonly LayerDescription[], place: string): Value {
  return layers.reduce((y, layer, index) => appendLayer(context, y, layer, `${place}.${index}`), x);
}

function appendLayer(context: DescriptionContext, x: Value, layer: LayerDescription, place: string): Value {
  const { graph, convolution, options } = context;
  const sizeOf = (width: Width) => (width === 'classes' ? options.classes : width);
  const label = layer.name ?? place;
  switch (layer.kind) {
    case 'conv2d': {
      const { outChannels, ...shape } = layer;
      return convolution(context, x, convolutionSpec({ ...shape, inChannels: channels(x), outChannels: sizeOf(outChannels) }));
    }
    case 'linear': {
      const { outFeatures, bias = true, ...shape } = layer;
      return convolution(context, x, convolutionSpec({ ...shape, bias, inChannels: channels(x), outChannels: sizeOf(outFeatures) }));
    }
    case 'batch_norm':
      return batchNormLayer(context, x, layer.name, { epsilon: layer.epsilon });
    case 'layer_norm':
      return layerNormLayer(context, x, layer.name, layer.epsilon);
    case 'relu':
    case 'relu6':
    case 'gelu':
      return graph.labelled(label, () => activations[layer.kind](x));
    case 'max_pool2d':
      return graph.labelled(label, () => maxPool2d(x, layer.kernel, layer.stride ?? layer.kernel, layer.padding ?? 0));
    case 'global_avg_pool':
      return graph.labelled(label, () => globalAvgPool(x));
    case 'dropout':
      return graph.labelled(label, () => dropoutLayer(context, x, options.dropout));
    case 'residual':
      return appendResidual(context, x, layer, label, place);
  }
}

function appendResidual(context: DescriptionContext, x: Value, layer: ResidualDescription, label: string, place: string): Value {
  const { graph, options } = context;
  const branch = appendSequence(context, x, layer.layers, `${place}.layers`);
  const shortcut = layer.shortcut ? appendSequence(context, x, layer.shortcut, `${place}.shortcut`) : x;
  if (branch.shape.join() !== shortcut.shape.join()) {
    throw new KernelWarehouseError(
      'ERR_KW_SHAPE',
      `${label}: the layers give [${branch.shape.join(', ')}], but the shortcut ` +
        `${layer.shortcut ? 'gives' : 'is the input of'} [${shortcut.shape.join(', ')}]; ` +
        'give the residual a shortcut with the same stride and output channels as its layers',
    );
  }
  return graph.labelled(label, () => add(shortcut, dropPathLayer(context, branch, options.dropPath)));
}

function featureMap(y: Value, place: string): Value {
  if (y.shape.length === 4) return y;
  const message = `${place}: a stage mark stands where the activations are a map [N, H, W, C], but here they are [${y.shape.join(', ')}]`;
  throw new KernelWarehouseError('ERR_KW_SHAPE', message);
}

/**
 * The network of a description, ready for `registerNetwork`. Layers with a sharing name are dynamic in its KernelWarehouse variant (see
 * `replaceConvolutions`). Names of layers are those in the state dict.
 * @throws ERR_KW_CONFIG for an invalid description; see `parseDescription`.
 */
export function describedNetwork(description: NetworkDescription): Network {
  const { layers, warehouse } = parseDescription(description);
  const build: Network['build'] = (layerContext, x, convolution, options) => {
    const context: DescriptionContext = { ...layerContext, convolution, options };
    const stages: Value[] = [];
    let y = x;
    layers.forEach((layer, index) => {
      const place = `layers.${index}`;
      if (layer.kind === 'stage') stages.push(featureMap(y, place));
      else y = appendLayer(context, y, layer, place);
    });
    return { logits: y, stages };
  };
  return warehouse === undefined ? { build } : { build, warehouse };
}
