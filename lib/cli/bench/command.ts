/** `kernel-warehouse bench`: its command line. run.ts times, bounds.ts computes bounds, paper_table.ts compares with the paper. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { hardwareNames } from '../../bench/bounds/hardware.js';
import { KernelWarehouseError } from '../../errors.js';
import { addDeviceOptions, decimalNumber, precisionOf, precisionWords, wholeNumber } from '../arguments.js';
import type { BenchFlags, TableFlags } from './flags.js';

/** Options about measuring, which mean nothing if nothing runs. */
const measuringOptions = ['device', 'threads', 'gpu', 'rounds', 'seconds', 'memory', 'impl'];

/** A parser of comma-separated lists; repeated words count once. */
function listOf<T>(parse: (text: string) => T): (text: string) => T[] {
  return (text) => [...new Set(text.split(',').map((part) => parse(part.trim())))];
}

/** Which networks are timed, and how each runs. */
function addCaseOptions(command: Command): Command {
  return command
    .argument('[networks...]', 'networks, official configurations or JSON configuration files (default: resnet18 and kw1x_resnet18)')
    .addOption(
      new Option('--batch-size <list>', 'images of one run; several with commas')
        .argParser(listOf(wholeNumber(1, 65_536)))
        .default([8], '8'),
    )
    .addOption(
      new Option('--precision <list>', `${precisionWords}; several with commas`)
        .argParser(listOf(precisionOf))
        .default(['float32'], 'float32'),
    )
    .option('--inference', 'time inference (default)')
    .option('--training', 'time a training step instead of inference; with --inference, both')
    .option('--image-size <pixels>', 'height and width', wholeNumber(1, 4096), 224)
    .option('--against <network>', 'the network that all are compared with (default: the static network of each)')
    .addOption(
      new Option(
        '--impl <kind>',
        'time each network also as public PyTorch code computes it: the batch folded into the groups of static convolutions',
      ).choices(['grouped']),
    );
}

/** How long they are timed, and what the report contains. */
function addReportOptions(command: Command): Command {
  return command
    .option('--rounds <count>', 'counted rounds, after an uncounted one', wholeNumber(1, 10_000), 5)
    .option('--seconds <s>', 'least time of each network in each round', decimalNumber({ above: 0 }), 1)
    .option('--layers', 'show where the time goes: the slowest steps beside their least times, and sums by op')
    .option('--rows <count>', 'rows of each list of steps; --json has all', wholeNumber(1), 15)
    .option('--no-memory', 'do not measure memory, for which each network runs once more in a process of its own')
    .option('--json [file]', 'print all figures as JSON instead of tables, or write them to a file')
    .option('--chart <file>', 'draw images per second as SVG');
}

/** What to do instead of timing the named networks. */
function addOtherKinds(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--bounds <processor>',
        `run nothing: print the least times on ${hardwareNames.join(', ')} or the processor of a JSON file`,
      ).conflicts(measuringOptions),
    )
    .option('--measured <file>', 'with --bounds: the JSON of a run with --layers, to print its times beside the least ones')
    .addOption(
      new Option('--model <processor>').hideHelp().argParser(() => {
        throw new InvalidArgumentError('This option is now called --bounds.');
      }),
    )
    .option(
      '--table <number>',
      'a table of the paper instead of networks, beside the figures that it prints: 1, 2, 3, 4, 10, 11, 17 counts, 12 speed, 16 memory',
      wholeNumber(1),
    )
    .option('--results <file>', 'with --table: JSON of accuracies trained here, {"<configuration>": {"top1": 70.2}}, beside the paper\'s');
}

const helpAfterOptions = `
Figures are medians of the rounds, with quartiles. Ctrl-C ends with the figures of the rounds that are complete. Raise --seconds and
--rounds if the quartiles are far apart. docs/benchmarks.md says what each figure contains.

Examples:
  $ kernel-warehouse bench kw1x_resnet18
  $ kernel-warehouse bench kw1x_resnet18 kw4x_resnet18 --batch-size 1,8,32 --chart speed.svg --json speed.json
  $ kernel-warehouse bench kw1x_resnet50 --inference --training --precision float32,bf16
  $ kernel-warehouse bench kw1x_mobilenetv2_100 --layers
  $ kernel-warehouse bench kw1x_resnet50 --bounds h100 --precision bf16 --batch-size 100
  $ kernel-warehouse bench --table 12 --batch-size 8
  $ kernel-warehouse bench --table 1 --results mine.json`;

async function run(networks: string[], flags: BenchFlags & Partial<TableFlags>, verb: Command): Promise<void> {
  const { table, results, bounds, measured } = flags;
  if (table !== undefined) {
    const { runPaperTable } = await import('./paper_table.js');
    return await runPaperTable(networks, { ...flags, table }, (option) => verb.getOptionValueSource(option) === 'cli');
  }
  const refuse = (option: string, owner: string): never => {
    throw new KernelWarehouseError('ERR_KW_INVALID_ARGUMENT', `${option} belongs to ${owner}, which is missing`);
  };
  if (results !== undefined) refuse('--results', '--table');
  const names = networks.length > 0 ? networks : ['resnet18', 'kw1x_resnet18'];
  if (bounds === undefined) {
    if (measured !== undefined) refuse('--measured', '--bounds');
    const { runBench } = await import('./run.js');
    return await runBench(names, flags);
  }
  const { runBounds } = await import('./bounds.js');
  await runBounds(names, flags, bounds);
}

export function benchCommand(): Command {
  const command = new Command('bench')
    .summary('measure the speed of networks on this machine')
    .description(
      'Time networks in rounds of one run. Each round times all of them in turn, so that drifts in the speed of the machine affect all ' +
        'alike. Dynamic networks are compared with their static network, and all with a large matrix product timed in the same rounds.',
    );
  addOtherKinds(addReportOptions(addCaseOptions(command)))
    .addHelpText('after', helpAfterOptions)
    .action(run);
  return addDeviceOptions(command);
}
