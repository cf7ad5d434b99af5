/** Benchmark rows for networks whose convolutions are computed as public PyTorch code does, beside our own implementation. */
import { Graph } from '../graph/graph.js';
import { Model } from '../models/model.js';
import type { ModelOptions } from '../models/model_options.js';
import type { NetworkCase } from './contestant.js';

const suffix = ', grouped';

/** Convolutions that are computed sample by sample. */
function samplewiseConvolutions(options: ModelOptions): number {
  const model = new Model(options);
  const graph = new Graph();
  const { imageSize } = model.options;
  model.forward(graph, graph.input('images', [1, imageSize, imageSize, 3]), false);
  return graph.nodes.filter(({ op }) => op.name.startsWith('samplewise_conv')).length;
}

/** The network with the grouped implementation; undefined if that makes no difference, because no layer has a kernel for each sample. */
export function groupedImplementation<Named extends Pick<NetworkCase, 'name' | 'model'>>(network: Named): Named | undefined {
  const model: ModelOptions = { ...network.model, implementation: 'grouped' };
  if (samplewiseConvolutions(model) === samplewiseConvolutions(network.model)) return undefined;
  return { ...network, name: `${network.name}${suffix}`, model };
}

/** The network that a row is an implementation of. */
export function networkOfImplementation(name: string): string {
  return name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
}
