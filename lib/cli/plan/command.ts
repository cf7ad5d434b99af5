/** `kernel-warehouse plan`: its command line. The other files here do the work. */
import { Command, Option } from 'commander';
import { KernelWarehouseError } from '../../errors.js';
import { wholeNumber } from '../arguments.js';
import type { PlanFlags } from './flags.js';

export function planCommand(): Command {
  return new Command('plan')
    .summary('show the parameters, cost and memory of networks')
    .description(
      'Show what a network consists of and needs, without running anything: warehouses with their cells, layers and attentions; ' +
        'parameters, operations, memory.',
    )
    .argument('[networks...]', 'networks, official configurations or JSON configuration files (default: a line for each known one)')
    .option('--image-size <pixels>', 'height and width of the images', wholeNumber(8, 4096), 224)
    .option('--batch-size <count>', 'images at a time; decides the memory', wholeNumber(1, 65_536), 1)
    .option('--classes <count>', '(default: as the configuration says, or 1000)', wholeNumber(1))
    .addOption(
      new Option('--stem <kind>', 'first layers (default: small for images up to 64 pixels, else large)').choices(['small', 'large']),
    )
    .option('--training', 'memory of a training step instead of inference')
    .addOption(new Option('--optimizer <name>', 'of the training step').choices(['sgd', 'adamw']).default('sgd'))
    .addOption(
      new Option('--all', "every row of the paper's tables: the printed count beside the exact one").conflicts([
        'imageSize',
        'classes',
        'stem',
      ]),
    )
    .addOption(
      new Option('--options', "the methods' options: field of a configuration file, default, meaning").conflicts([
        ...['all', 'imageSize', 'batchSize', 'classes', 'stem', 'training', 'optimizer'],
      ]),
    )
    .option('--json', 'print one JSON array')
    .addHelpText(
      'after',
      `
Operations count a multiply-add as two. Memory is what the lowered plan asks for; kernels may keep copies of parameters in a layout of
their own.

Examples:
  $ kernel-warehouse plan
  $ kernel-warehouse plan --all
  $ kernel-warehouse plan --options
  $ kernel-warehouse plan kw1x_resnet18 kw4x_resnet18
  $ kernel-warehouse plan kw_resnet18 --image-size 32 --classes 10 --batch-size 32 --training --json`,
    )
    .action(async (names: string[], flags: PlanFlags) => {
      if (flags.options) {
        if (names.length > 0)
          throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `--options takes no names, got ${names.join(', ')}`);
        const { printOptions } = await import('./options_text.js');
        printOptions(flags);
        return;
      }
      if (flags.all) {
        if (names.length > 0) throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `--all takes no names, got ${names.join(', ')}`);
        const { printPaperReport } = await import('./paper_text.js');
        printPaperReport(flags);
        return;
      }
      const { printPlans } = await import('./networks_text.js');
      printPlans(names, flags);
    });
}
