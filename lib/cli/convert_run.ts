/** What `kernel-warehouse convert` does. */
import type { CheckpointFile } from '../checkpoint/checkpoint_file.js';
import { convertCheckpoint } from '../checkpoint/convert.js';
import { KernelWarehouseError } from '../errors.js';
import { describeMisfit } from '../models/load_report.js';
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
  await using file = await openWeights(input, flags);
  // A safetensors file may be replaced by itself with a description; of a .pth, the optimizer would be lost.
  if (file.format === 'pth') checkedOutput(output, [input]);
  const description = checkedDescription(file, flags);
  const { tensors, bytes } = await convertCheckpoint(file, output, description ? descriptionMetadata(description) : {});
  console.log(
    formatFields({
      read: `${input} (${file.format})`,
      written: `${output}, ${formatCount(tensors)} tensors, ${formatBytes(bytes)}`,
      network: description
        ? `${description.model.network}, ${new Model(description.model).options.classes} classes`
        : 'not said; give --network',
    }),
  );
}

/** What the new file says about its network: nothing unless the flags or the old file say it, and nothing that is not true. */
function checkedDescription(file: CheckpointFile, flags: ConvertFlags): Description | undefined {
  const { ema: _ema, network, config, ...others } = flags;
  // The settings of a training script are copied, but not vouched for.
  const isNamed = network !== undefined || config !== undefined || readDescription(file) !== undefined;
  if (!isNamed) return Object.keys(others).length > 0 ? needsNetwork(file.path) : undefined;
  const description = describeWeights(file, flags) ?? needsNetwork(file.path);
  const misfit = describeMisfit(new Model(description.model).compare(file));
  if (misfit === undefined) return description;
  throw new KernelWarehouseError('ERR_KW_CHECKPOINT', `${file.path}: the weights do not fit ${description.model.network}: ${misfit}`);
}
