/** Means over positions, from which attentions are computed, and the linear layers on them that public code stores as 1x1 convolutions. */
import type { Initialization } from '../graph/declaration.js';
import type { Value } from '../graph/graph.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import { channels } from '../graph/operation.js';
import { globalAvgPool } from '../graph/ops/global_avg_pool.js';
import { matmul } from '../graph/ops/matmul.js';
import { reshape } from '../graph/ops/reshape.js';
import type { LayerContext } from './layer.js';

/** x [N, ..., C] averaged over its positions: [N, C]. */
export function pooledFeatures(x: Value): Value {
  const [samples = 1] = x.shape;
  return globalAvgPool(x.shape.length === 2 ? reshape(x, [samples, 1, channels(x)]) : x);
}

interface PooledLinearOptions {
  /** Default true. */
  readonly bias?: boolean;
  /** Of the bias; defaults to 0. */
  readonly biasInitialization?: Initialization;
  /** Of the weight; defaults to Kaiming's, fan-out, for a ReLU. */
  readonly initialization?: Initialization;
}

/** Features [N, I] to [N, outputs] with `name.weight` [outputs, I, 1, 1] and `name.bias` [outputs]. */
export function pooledLinear(
  { graph }: LayerContext,
  features: Value,
  name: string,
  outputs: number,
  options: PooledLinearOptions = {},
): Value {
  const { bias = true, initialization = { kind: 'normal', deviation: kaimingDeviation(outputs) } } = options;
  const { biasInitialization = { kind: 'zeros' } } = options;
  const inputs = channels(features);
  const weight = graph.parameter(`${name}.weight`, [outputs, inputs, 1, 1], { channelAxis: 1, initialization });
  const offset = bias ? graph.parameter(`${name}.bias`, [outputs], { initialization: biasInitialization }) : undefined;
  return matmul(features, reshape(weight, [outputs, inputs]), { transposeB: true }, offset);
}
