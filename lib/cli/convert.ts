/** `kernel-warehouse convert`: its command line. convert_run.ts does the work. */
import { Command } from 'commander';
import type { ConvertFlags } from './convert_run.js';
import { addDescriptionOptions, addEmaOption } from './model_flags.js';

export function convertCommand(): Command {
  const command = new Command('convert')
    .summary('write a checkpoint as safetensors')
    .description(
      'Write the weights of a .pth or safetensors file as safetensors, with the same names, types and bits. With --network the file also ' +
        'says which network it is for, so that eval and predict need nothing else.',
    )
    .argument('<in>', 'a file of torch.save, or a safetensors file')
    .argument('<out.safetensors>', 'replaced if it exists');
  return addEmaOption(addDescriptionOptions(command))
    .addHelpText(
      'after',
      `
The settings (args) and the epoch in a .pth file of a script are kept as metadata. Without --network, the settings name the network if the
weights fit it. The state of an optimizer is left out, also that in a checkpoint of train, and so is the prefix module. of parallel training.
Nothing in the file is ever executed.

Examples:
  $ kernel-warehouse convert kw1x_resnet18.pth kw1x_resnet18.safetensors --config kw1x_resnet18
  $ kernel-warehouse predict --weights kw1x_resnet18.safetensors cat.jpg`,
    )
    .action(async (input: string, output: string, flags: ConvertFlags) => {
      const { runConvert } = await import('./convert_run.js');
      await runConvert(input, output, flags);
    });
}
