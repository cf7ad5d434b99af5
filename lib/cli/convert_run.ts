/** Runs `kernel-warehouse convert`. */
import type { CheckpointFile } from '../checkpoint/checkpoint_file.js';
import { convertCheckpoint } from '../checkpoint/convert.js';
import { KernelWarehouseError } from '../errors.js';
import { optimizerPrefix } from '../models/ignored_tensors.js';
import { Model } from '../models/model.js';
import { type Description, descriptionMetadata, readDescription } from '../train/checkpoint.js';
import { formatBytes, formatCount, formatFields } from './figures.js';
import type { DescriptionFlags } from './model_flags.js';
import { checkedOutput } from './output_path.js';
import { describeWeights, needsNetwork, openWeights } from './trained_model.js';

export interface ConvertFlags extends DescriptionFlags {
  readonly ema?: true;
}

export async function runConvert(input: string, output: string, flags: ConvertFlags): Promise<void> {
  const target = checkedOutput(output, [flags.classesFrom, flags.config]);
  const misleading = [output, target].find((path) => /\.(pth|pt|bin|ckpt|pkl)$/i.test(path));
  if (misleading !== undefined) {
    throw new KernelWarehouseError(
      'ERR_KW_INVALID_ARGUMENT',
      `${misleading}: only safetensors files are written; PyTorch reads them with the package safetensors`,
    );
  }
  // The file may contain more than is written: the optimizer's state of a training run.
  checkedOutput(output, [input]);
  await using file = await openWeights(input, flags);
  const description = checkedDescription(file, flags);
  // The optimizer's state is only needed to resume training, which the original checkpoint can do.
  const kept = file.names.filter((name) => !name.startsWith(optimizerPrefix));
  const { tensors, bytes } = await convertCheckpoint(file, output, description ? descriptionMetadata(description) : {}, kept);
  const dropped = file.names.length - kept.length;
  console.log(
    formatFields({
      read: `${input} (${file.format})`,
      written: `${output}, ${formatCount(tensors)} tensors, ${formatBytes(bytes)}`,
      ...(dropped > 0 ? { 'left out': `${formatCount(dropped)} tensors of the optimizer` } : {}),
      network: description
        ? `${description.model.network}, ${new Model(description.model).options.classes} classes`
        : 'unknown; give --network',
    }),
  );
}

/** What the new file says about its network: only what the flags or the old file say, and only if it is true. */
function checkedDescription(file: CheckpointFile, flags: ConvertFlags): Description | undefined {
  const { ema: _ema, network, config, ...others } = flags;
  const isSaid = network !== undefined || config !== undefined || Object.keys(others).length > 0 || readDescription(file) !== undefined;
  if (isSaid) return fittingDescription(file, flags) ?? needsNetwork(file.path);
  try {
    return fittingDescription(file, flags);
  } catch (error) {
    // The settings of a script may name a network that only that script has. They are copied all the same, but not confirmed.
    if (!(error instanceof KernelWarehouseError)) throw error;
    process.stderr.write(`kernel-warehouse: the new file does not name the network in its settings (args): ${error.message}\n`);
    return undefined;
  }
}

function fittingDescription(file: CheckpointFile, flags: ConvertFlags): Description | undefined {
  const found = describeWeights(file, flags);
  if (found === undefined) return undefined;
  new Model(found.model).checkFit(file);
  // Without the optimizer's state the run cannot be resumed.
  const { progress: _progress, ...description } = found;
  return description;
}
