/** The network of a command: from `--network` and `--config`, or from a checkpoint. */
import type { CheckpointFile } from '../checkpoint/checkpoint_file.js';
import type { NetworkConfig } from '../configurations/configuration.js';
import { fitOptions, stemsAlike } from '../models/fitting.js';
import type { ModelOptions } from '../models/model_options.js';
import { configOfSettings, modelOptions, type Selection, selectModel } from '../models/select.js';
import type { NetworkFlags } from './model_flags.js';

/** The network that the flags name; undefined if they name none. */
export function chosenNetwork({ network, config }: NetworkFlags): Selection | undefined {
  const name = config ?? network;
  return name === undefined ? undefined : selectNoting(name);
}

/** Like `selectModel`; its note goes to standard error. */
export function selectNoting(name: string): Selection {
  const selection = selectModel(name);
  if (selection.note !== undefined) process.stderr.write(`kernel-warehouse: ${selection.note}\n`);
  return selection;
}

/** Like `fitOptions`; if neither a shape nor the user tells the stem, a note goes to standard error. */
export function fitNoting(options: ModelOptions, file: CheckpointFile): ModelOptions {
  const fitted = fitOptions(options, file);
  const [other] = options.stem === undefined ? stemsAlike(fitted) : [];
  if (other !== undefined) {
    process.stderr.write(
      `kernel-warehouse: ${file.path}: the shapes do not tell which stem of ${fitted.network} the weights were trained with; ` +
        `using '${fitted.stem}', give --stem ${other} if it was that one, or --stem ${fitted.stem} to hide this note\n`,
    );
  }
  return fitted;
}

/** The network named by a training script's settings in its checkpoint; undefined if there are none. */
export function networkOfSettings({ path, metadata }: CheckpointFile): Selection | undefined {
  const config: NetworkConfig | undefined = metadata.args === undefined ? undefined : configOfSettings(metadata.args, `${path}, args`);
  return config && { config, model: modelOptions(config) };
}
