/** Every fusion that a training graph goes through before it is lowered. */
import type { Graph } from '../graph.js';
import { fuseMixing } from './fuse_mixing.js';
import { fuseNormalization } from './fuse_normalization.js';

export function fuseTraining(graph: Graph): Graph {
  return fuseNormalization(fuseMixing(graph));
}
