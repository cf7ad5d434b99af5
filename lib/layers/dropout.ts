/** Layers that drop something at random in training and do nothing otherwise. */
import type { Value } from '../graph/graph.js';
import { dropout } from '../graph/ops/dropout.js';
import type { LayerContext } from './layer.js';

/** x with single elements dropped with `probability`; goes before a classifier. */
export function dropoutLayer({ training, nextStream }: LayerContext, x: Value, probability: number): Value {
  return training ? dropout(x, probability, { stream: nextStream() }) : x;
}

/** The residual branch x [N, ...], dropped for each sample with `probability` (stochastic depth). */
export function dropPathLayer({ training, nextStream }: LayerContext, x: Value, probability: number): Value {
  return training ? dropout(x, probability, { perSample: true, stream: nextStream() }) : x;
}
