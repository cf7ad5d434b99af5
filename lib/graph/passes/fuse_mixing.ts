/**
 * Fuses mix_cells with the sample-wise convolution that reads it, forward and backward, so that no mixed weight is kept: the forward pass
 * mixes the weights of a few samples at a time, and the backward pass mixes them again. Then sums the gradients of a warehouse in place.
 */
import type { Graph, Node, Value } from '../graph.js';
import { mixedConv2dBackwardInputOperation, mixedConv2dBackwardMixingOperation, mixedConv2dOperation } from '../ops/mixed_conv2d.js';
import { leafOf, type Rewriter, rewrite, usesOf } from './rewrite.js';

function isMixed(value: Value | undefined): value is Value {
  return value?.node.op.name === 'mix_cells';
}

function fuse(graph: Graph): Graph {
  const uses = usesOf(graph);
  // The fused backward node of each dweight, made at the first of its two users.
  const joined = new Map<Value, readonly Value[]>();
  // A backward-weight node does not have the weight among its inputs; its users tell which one it is.
  const mixingOf = (dweight: Value): { attention: Value; cells: Value } | undefined => {
    const users = uses.get(dweight) ?? [];
    if (!users.every((node) => node.op.name === 'mix_cells_backward_attention' || node.op.name === 'mix_cells_backward_cells'))
      return undefined;
    const cells = users.find((node) => node.op.name === 'mix_cells_backward_attention')?.inputs[1];
    const attention = users.find((node) => node.op.name === 'mix_cells_backward_cells')?.inputs[1];
    return attention && cells && { attention, cells };
  };

  const forward = (node: Node, weight: Value, { graph: result, mapped }: Rewriter) => {
    const [attention, cells] = weight.node.inputs as [Value, Value];
    const bias = node.inputs[2] && mapped(node.inputs[2]);
    const attributes = { ...node.attributes, outChannels: weight.shape[1], kernel: weight.shape.slice(2, 4) };
    return result.append(
      mixedConv2dOperation,
      [mapped(node.inputs[0] as Value), mapped(attention), mapped(cells), bias],
      attributes,
      node.label,
    );
  };
  const backwardInput = (node: Node, weight: Value, { graph: result, mapped }: Rewriter) => {
    const [attention, cells] = weight.node.inputs as [Value, Value];
    const inChannels = node.outputs[0]?.shape[3];
    const attributes = { ...node.attributes, outChannels: weight.shape[1], kernel: weight.shape.slice(2, 4), inChannels };
    return result.append(
      mixedConv2dBackwardInputOperation,
      [mapped(node.inputs[0] as Value), mapped(attention), mapped(cells)],
      attributes,
      node.label,
    );
  };
  const backwardMixing = (dweight: Value, { graph: result, mapped }: Rewriter): readonly Value[] | undefined => {
    const known = joined.get(dweight);
    if (known) return known;
    const mixing = mixingOf(dweight);
    if (!mixing) return undefined;
    const { node } = dweight;
    const [x, dy] = node.inputs as [Value, Value];
    const attributes = { ...node.attributes, outChannels: dweight.shape[1] };
    const inputs = [mapped(x), mapped(dy), mapped(mixing.attention), mapped(mixing.cells)];
    const made = result.append(mixedConv2dBackwardMixingOperation, inputs, attributes, node.label);
    joined.set(dweight, made);
    return made;
  };

  return rewrite(graph, (node, rewriter) => {
    const weight = node.inputs[1];
    const from = node.inputs[0];
    switch (node.op.name) {
      case 'samplewise_conv2d':
        return isMixed(weight) ? forward(node, weight, rewriter) : undefined;
      case 'samplewise_conv2d_backward_input':
        return isMixed(weight) ? backwardInput(node, weight, rewriter) : undefined;
      case 'mix_cells_backward_attention':
      case 'mix_cells_backward_cells': {
        if (from?.node.op.name !== 'samplewise_conv2d_backward_weight') return undefined;
        const outputs = backwardMixing(from, rewriter);
        return outputs && [outputs[node.op.name === 'mix_cells_backward_attention' ? 0 : 1] as Value];
      }
      default:
        return undefined;
    }
  });
}

/** Turns add(sum, dcells) into a backward node that adds to `sum` in its own memory. */
function accumulate(graph: Graph): Graph {
  const uses = usesOf(graph);
  const usedOnce = (value: Value) => uses.get(value)?.length === 1;
  const accumulators = new Map<Node, Value>();
  const replacedAdds = new Map<Node, Value>();
  for (const node of graph.nodes) {
    if (node.op.name !== 'add' || !uses.has(node.outputs[0] as Value)) continue;
    const [sum, dcells] = node.inputs as [Value, Value];
    const made = dcells.node;
    if (made.op.name !== 'mixed_conv2d_backward_mixing' || dcells.index !== 1 || accumulators.has(made)) continue;
    if (sum.node.id > made.id || leafOf(sum) || !usedOnce(sum) || !usedOnce(dcells)) continue;
    accumulators.set(made, sum);
    replacedAdds.set(node, dcells);
  }
  return rewrite(graph, (node, { graph: result, mapped }) => {
    const sum = accumulators.get(node);
    if (sum) {
      const inputs = [...node.inputs.slice(0, 4).map((value) => value && mapped(value)), mapped(sum)];
      return result.append(node.op, inputs, node.attributes, node.label);
    }
    const dcells = replacedAdds.get(node);
    return dcells && [mapped(dcells)];
  });
}

export function fuseMixing(graph: Graph): Graph {
  return accumulate(fuse(graph));
}
