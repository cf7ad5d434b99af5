/** Gates: factors between 0 and 1 for channels, mixtures and kernel positions. SE, CBAM, ECA, DCD, ODConv, WeightNet and KW* share them. */
import type { Value } from '../graph/graph.js';
import { multiply } from '../graph/ops/multiply.js';
import { reshape } from '../graph/ops/reshape.js';

/** x [N, ..., C] with each channel multiplied by its gate in [N, C]. */
export function gateChannels(x: Value, gate: Value): Value {
  const [samples = 1, ...rest] = x.shape;
  return multiply(x, reshape(gate, [samples, ...rest.slice(1).map(() => 1), rest.at(-1) as number]));
}

/** Attention [N, m, n] with the mixtures of each kernel position multiplied by its gate in [N, positions]; for cells of one position. */
export function gateMixtures(attention: Value, gate: Value): Value {
  const [samples, positions] = gate.shape as [number, number];
  const [, mixtures, cells] = attention.shape as [number, number, number];
  const grouped = reshape(attention, [samples, positions, (mixtures / positions) * cells]);
  return reshape(multiply(grouped, reshape(gate, [samples, positions, 1])), attention.shape);
}

/** Mixed weights [N, O, ...kernel, I] with each kernel position multiplied by its gate in [N, positions]. */
export function gateWeight(weight: Value, gate: Value): Value {
  const [samples = 1, ...rest] = weight.shape;
  return multiply(weight, reshape(gate, [samples, 1, ...rest.slice(1, -1), 1]));
}
