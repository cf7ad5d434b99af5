/** Tensors in checkpoints that belong to no model. */

/** The prefix of the optimizer's tensors in a training checkpoint. */
export const optimizerPrefix = 'optimizer.';

/** PyTorch's counters of batches are ignored, too. */
export function isIgnored(name: string): boolean {
  return name.startsWith(optimizerPrefix) || /(^|\.)num_batches_tracked$/.test(name);
}
