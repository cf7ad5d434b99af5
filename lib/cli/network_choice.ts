/** Which network a command is about: `--network` and `--config`, or what a checkpoint says. */
import type { CheckpointFile } from '../checkpoint/checkpoint_file.js';
import type { NetworkConfig } from '../configurations/configuration.js';
import { fitOptions, stemsAlike } from '../models/fitting.js';
import type { ModelOptions } from '../models/model_options.js';
import { configOfSettings, modelOptions, type Selection, selectModel } from '../models/select.js';
import type { NetworkFlags } from './model_flags.js';

/** What the flags name; undefined when they name nothing. */
export function chosenNetwork({ network, config }: NetworkFlags): Selection | undefined {
  const name = config ?? network;
  return name === undefined ? undefined : selectNoting(name);
}

/** As `selectModel`; what it has to say goes to standard error. */
export function selectNoting(name: string): Selection {
  const selection = selectModel(name);
  if (selection.note !== undefined) process.stderr.write(`kernel-warehouse: ${selection.note}\n`);
  return selection;
}

/** As `fitOptions`; where no shape tells the stem and nobody has said it, standard error says so. */
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

/** The network that the settings of a training script, kept in its checkpoint, name; undefined where there are none. */
export function networkOfSettings({ path, metadata }: CheckpointFile): Selection | undefined {
  const config: NetworkConfig | undefined = metadata.args === undefined ? undefined : configOfSettings(metadata.args, `${path}, args`);
  return config && { config, model: modelOptions(config) };
}
