/** BatchNorm and LayerNorm with their parameters and running statistics. */
import type { Value } from '../graph/graph.js';
import { channels, elements } from '../graph/operation.js';
import { batchNorm, batchNormInference } from '../graph/ops/batch_norm.js';
import { layerNorm } from '../graph/ops/layer_norm.js';
import { updateRunningStatistics } from '../graph/ops/update_running_statistics.js';
import type { LayerContext } from './layer.js';

export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  readonly epsilon?: number | undefined;
  /** The weight of the batch's statistics in the new running ones. Default 0.1. */
  readonly momentum?: number;
  /** Initial values of the scale. Default 1. */
  readonly scale?: 0 | 1;
}

/**
 * BatchNorm over all axes but the last: `name.weight`, `name.bias`, `name.running_mean`, `name.running_var`, each [C]. In training, a
 * single row has no variance; then the running statistics are used, and do not change.
 */
export function batchNormLayer({ graph, training }: LayerContext, x: Value, name: string, options: BatchNormOptions = {}): Value {
  const { epsilon = 1e-5, momentum = 0.1, scale: initialScale = 1 } = options;
  return graph.labelled(name, () => {
    const shape = [channels(x)];
    const scale = graph.parameter(`${name}.weight`, shape, { initialization: { kind: initialScale === 0 ? 'zeros' : 'ones' } });
    const bias = graph.parameter(`${name}.bias`, shape, { initialization: { kind: 'zeros' } });
    const running = {
      mean: graph.state(`${name}.running_mean`, shape, { initialization: { kind: 'zeros' } }),
      variance: graph.state(`${name}.running_var`, shape, { initialization: { kind: 'ones' } }),
    };
    const rows = elements(x.shape) / channels(x);
    if (!training || rows === 1) return batchNormInference(x, scale, bias, running.mean, running.variance, epsilon);
    const { y, mean, variance } = batchNorm(x, scale, bias, epsilon);
    updateRunningStatistics(running, { mean, variance }, momentum, rows);
    return y;
  });
}

/** LayerNorm over the last axis: `name.weight`, `name.bias`, each [C]. */
export function layerNormLayer({ graph }: LayerContext, x: Value, name: string, epsilon = 1e-5): Value {
  return graph.labelled(name, () => {
    const shape = [channels(x)];
    const scale = graph.parameter(`${name}.weight`, shape, { initialization: { kind: 'ones' } });
    const bias = graph.parameter(`${name}.bias`, shape, { initialization: { kind: 'zeros' } });
    return layerNorm(x, scale, bias, epsilon);
  });
}
