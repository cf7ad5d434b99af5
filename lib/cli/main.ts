#!/usr/bin/env node
/** The command `kernel-warehouse`. Each verb is one file, which imports what it needs only when it runs, so `--help` is quick. */
import { Command } from 'commander';
import { packageVersion } from '../runtime/machine.js';
import { benchCommand } from './bench/command.js';
import { convertCommand } from './convert.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { reportFailure } from './failure.js';
import { planCommand } from './plan/command.js';
import { predictCommand } from './predict.js';
import { trainCommand } from './train.js';

const verbs = [trainCommand, evalCommand, predictCommand, convertCommand, planCommand, benchCommand, doctorCommand];

function buildProgram(): Command {
  const program = new Command('kernel-warehouse')
    .description('Train and run KernelWarehouse dynamic-convolution networks (Li and Yao, ICML 2024).')
    .version(packageVersion(), '-v, --version')
    .helpCommand('help [verb]', 'show how to use a verb')
    .addHelpText(
      'after',
      `
Examples, with images in photos/train/<class>/ and photos/val/<class>/:
  $ kernel-warehouse doctor
  $ kernel-warehouse plan kw1x_resnet18
  $ kernel-warehouse train photos/ --network kw1x_resnet18 --output runs/photos
  $ kernel-warehouse eval photos/ --weights runs/photos/best.safetensors
  $ kernel-warehouse predict --weights runs/photos/best.safetensors cat.jpg

Environment: KW_DEVICE and KW_NUM_THREADS set defaults of --device and --threads; KW_DEBUG=1 adds the stack to an error.`,
    );
  for (const verb of verbs) program.addCommand(verb());
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'kernel-warehouse: ').replace(/\n(?=\()/, ' ')),
    });
  }
  return program;
}

/**
 * A reader that closes the pipe, as in `kernel-warehouse plan | head`, must not end the work: a training run may still write its
 * checkpoint.
 */
function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error;
}

process.stdout.on('error', ignoreClosedPipe);
process.stderr.on('error', ignoreClosedPipe);
try {
  await buildProgram().parseAsync();
} catch (error) {
  process.exitCode = reportFailure(error);
}
