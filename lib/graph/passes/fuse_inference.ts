/** Every fusion that an inference graph goes through before it is lowered. */
import type { Graph } from '../graph.js';
import { foldBatchNorm } from './fold_batch_norm.js';
import { fuseMixing } from './fuse_mixing.js';

export function fuseInference(graph: Graph): Graph {
  return foldBatchNorm(fuseMixing(graph));
}
