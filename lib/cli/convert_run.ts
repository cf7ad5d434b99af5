/** What `kernel-warehouse convert` does. */
import { existsSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';
import type { CheckpointFile } from '../checkpoint/checkpoint_file.js';
import { convertCheckpoint } from '../checkpoint/convert.js';
import { KernelWarehouseError } from '../errors.js';
import { describeMisfit } from '../models/load_report.js';
import { Model } from '../models/model.js';
import { type Description, descriptionMetadata, readDescription } from '../train/checkpoint.js';
import { formatBytes, formatCount, formatFields } from './figures.js';
import type { DescriptionFlags } from './model_flags.js';
import { describeWeights, needsNetwork, openWeights } from './trained_model.js';

export interface ConvertFlags extends DescriptionFlags {
  readonly ema?: true;
}

export async function runConvert(input: string, output: string, flags: ConvertFlags): Promise<void> {
  const fail = (problem: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${output}: ${problem}`);
  };
  const target = existsSync(output) ? realpathSync(output) : output;
  if ([output, target].some((path) => /\.(pth|pt|bin|ckpt|pkl)$/i.test(path))) {
    const place = target === output ? '' : `leads to ${target}, and `;
    fail(`${place}only safetensors files are written; PyTorch reads them with the package safetensors`);
  }
  // What is read may hold more than is written: a training run's optimizer.
  if (existsSync(input) && realpathSync(input) === target) fail('is the file that is read; choose another name for the new one');
  if (!existsSync(dirname(output))) fail(`there is no folder ${dirname(output)} to write it to`);
  await using file = await openWeights(input, flags);
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
