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
    .option('--training', 'time a training step; with --inference both, else that instead of inference')
    .option('--image-size <pixels>', 'height and width', wholeNumber(1, 4096), 224)
    .option('--against <network>', 'what all are compared with (default: the static network of each, added where it is missing)')
    .addOption(
      new Option(
        '--impl <kind>',
        'beside each network the implementation of public PyTorch code: the batch folded into the groups of static convolutions',
      ).choices(['grouped']),
    );
}

/** How long they are timed, and what the report contains. */
function addReportOptions(command: Command): Command {
  return command
    .option('--rounds <count>', 'counted rounds, after one that is not', wholeNumber(1, 10_000), 5)
    .option('--seconds <s>', 'least time of each network in each round', decimalNumber({ above: 0 }), 1)
    .option('--layers', 'list where the time goes: the slowest steps beside what they could take, and sums by op')
    .option('--rows <count>', 'rows of each list of steps; --json has all', wholeNumber(1), 15)
    .option('--no-memory', 'do not measure the memory, for which each network runs once more, in a process of its own')
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
    .option('--measured <file>', 'with --bounds: the JSON of a run with --layers, whose times stand beside the least ones')
    .addOption(
      new Option('--model <processor>').hideHelp().argParser(() => {
        throw new InvalidArgumentError('The option is called --bounds now.');
      }),
    )
    .option(
      '--table <number>',
      'lines of a table of the paper instead of networks, beside what it prints: 1, 2, 3, 4, 10, 11, 17 counts, 12 speed, 16 memory',
      wholeNumber(1),
    )
    .option('--results <file>', 'with --table: JSON of accuracies trained here, {"<configuration>": {"top1": 70.2}}, beside the paper\'s');
}

const helpAfterOptions = `
Figures are medians of the rounds, with quartiles. Ctrl-C ends with the figures of the rounds that are complete. Give --seconds and --rounds
more where the quartiles lie far apart. docs/benchmarks.md says what each figure contains.

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
    .summary('measure how fast networks are here')
    .description(
      'Time networks, all in one run: each of its rounds times every one of them in turn, so that a machine whose speed drifts treats all ' +
        'alike. Dynamic networks are compared with their static one, and all with a large matrix product that is timed in the same rounds.',
    );
  addOtherKinds(addReportOptions(addCaseOptions(command)))
    .addHelpText('after', helpAfterOptions)
    .action(run);
  return addDeviceOptions(command);
}
