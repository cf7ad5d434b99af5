/** Tensors that stand in checkpoints and belong to no model. */

/** What the names of an optimizer's tensors begin with in a training checkpoint. */
export const optimizerPrefix = 'optimizer.';

/** PyTorch's counters of batches are ignored, too. */
export function isIgnored(name: string): boolean {
  return name.startsWith(optimizerPrefix) || /(^|\.)num_batches_tracked$/.test(name);
}
