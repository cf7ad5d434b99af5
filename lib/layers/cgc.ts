/**
 * CGC, context-gated convolution (Lin et al., ECCV 2020): every element of the kernel is multiplied by a gate. The gate is the sigmoid of a
 * sum of two terms, one for input channel and position, one for output channel and position. Both come from the input, pooled to the size
 * of the kernel.
 */
import { KernelWarehouseError } from '../errors.js';
import type { Value } from '../graph/graph.js';
import { kaimingDeviation } from '../graph/initial_values.js';
import { elements } from '../graph/operation.js';
import { adaptiveAvgPool2d } from '../graph/ops/adaptive_avg_pool2d.js';
import { fill } from '../graph/ops/fill.js';
import { addToPositions } from '../graph/ops/global_avg_pool.js';
import { matmul } from '../graph/ops/matmul.js';
import { multiply } from '../graph/ops/multiply.js';
import { relu } from '../graph/ops/relu.js';
import { reshape } from '../graph/ops/reshape.js';
import { sigmoid } from '../graph/ops/sigmoid.js';
import { transpose } from '../graph/ops/transpose.js';
import { expectAdjustable } from './adjustable_convolution.js';
import { convolutionBias, convolve } from './convolution.js';
import type { ConvolutionFactory, ConvolutionSpec, LayerContext } from './layer.js';
import { batchNormLayer } from './normalization.js';

/** Neighbouring channels that interact. */
const runLength = 16;

interface ContextGates {
  /** [N, positions, C] */
  readonly input: Value;
  /** [N, O, positions] */
  readonly output: Value;
}

/** How many channels form a run, and how many output channels a run leads to. */
function runOf({ name, inChannels, outChannels }: ConvolutionSpec): readonly [inputs: number, outputs: number] {
  const inputs = Math.min(inChannels, runLength);
  const outputs = (outChannels * inputs) / inChannels;
  if (inChannels % inputs === 0 && Number.isInteger(outputs)) return [inputs, outputs];
  throw new KernelWarehouseError(
    'ERR_KW_UNSUPPORTED',
    `layer ${name}: CGC expects input channels that are fewer than ${runLength} or a multiple of it, and output channels that divide among ` +
      `their runs, but received ${inChannels} to ${outChannels}; leave this layer static`,
  );
}

/** The two terms of the gates' logits. */
function contextGates(context: LayerContext, x: Value, spec: ConvolutionSpec): ContextGates {
  const { name, inChannels, outChannels } = spec;
  const samples = x.shape[0] as number;
  const [height, width] = spec.kernel as [number, number];
  const positions = height * width;
  const latent = Math.floor(positions / 2) + 1;
  const matrix = (suffix: string, rows: number, columns: number): Value => {
    const initialization = { kind: 'uniform', bound: 1 / Math.sqrt(columns) } as const;
    return context.graph.parameter(`${name}.${suffix}.weight`, [rows, columns], { initialization });
  };
  const active = (values: Value, norm: string): Value => relu(batchNormLayer(context, values, `${name}.${norm}`));

  // Positions come first, so that one product maps those of all samples and channels. Channels come last, as the norms want them.
  const pooled = reshape(adaptiveAvgPool2d(x, [height, width]), [samples, positions, inChannels]);
  const columns = reshape(transpose(pooled, [1, 0, 2]), [positions, samples * inChannels]);
  const encoded = reshape(matmul(matrix('ce', latent, positions), columns), [latent * samples, inChannels]);

  const input = matmul(matrix('gd', positions, latent), reshape(active(encoded, 'ce_bn'), [latent, samples * inChannels]));
  const [runInputs, runOutputs] = runOf(spec);
  const runs = reshape(active(encoded, 'ci_bn2'), [(latent * samples * inChannels) / runInputs, runInputs]);
  const interacted = matmul(runs, matrix('ci', runOutputs, runInputs), { transposeB: true });
  const mixed = active(reshape(interacted, [latent * samples, outChannels]), 'ci_bn');
  const output = matmul(matrix('gd2', positions, latent), reshape(mixed, [latent, samples * outChannels]));
  return {
    input: transpose(reshape(input, [positions, samples, inChannels]), [1, 0, 2]),
    output: transpose(reshape(output, [positions, samples, outChannels]), [1, 2, 0]),
  };
}

/** sigmoid(input[c] + output[o]) for each sample and element of the kernel: [N, O, positions * C]. */
function gateOfKernel({ input, output }: ContextGates): Value {
  const [samples, positions, inChannels] = input.shape as [number, number, number];
  const outChannels = output.shape[1] as number;
  const column = reshape(output, [samples * outChannels * positions, 1]);
  // Multiplying by ones repeats a column.
  const repeated = reshape(matmul(column, fill(input.graph, [1, inChannels], 1)), [samples, outChannels, positions * inChannels]);
  return sigmoid(addToPositions(repeated, reshape(input, [samples, positions * inChannels])));
}

/**
 * A context-gated convolution: kernel[o, c] = W[o, c] sigmoid(A[c] + B[o]). With `name.weight` [O, C, ...kernel], for a kernel of k
 * positions and d = floor(k / 2) + 1: `name.ce.weight` [d, k], `name.gd.weight` and `name.gd2.weight` [k, d], `name.ci.weight` [O G / C, G]
 * for runs of G = min(C, 16) channels, the norms `name.ce_bn` and `name.ci_bn2` of C, `name.ci_bn` of O channels, and `name.bias`
 * where the layer has one. Throws ERR_KW_UNSUPPORTED for groups and channels that do not divide into runs.
 */
export const cgcConvolution: ConvolutionFactory = (context, x, spec) => {
  expectAdjustable('CGC', spec, 'one group');
  const { name, inChannels, outChannels, kernel } = spec;
  return context.graph.labelled(name, () => {
    const weight = context.graph.parameter(`${name}.weight`, [outChannels, inChannels, ...kernel], {
      channelAxis: 1,
      initialization: { kind: 'normal', deviation: kaimingDeviation(outChannels * elements(kernel)) },
    });
    const gate = gateOfKernel(contextGates(context, x, spec));
    const gated = multiply(gate, reshape(weight, [1, outChannels, elements(kernel) * inChannels]));
    return convolve(x, gated, convolutionBias(context, spec), spec, true);
  });
};
