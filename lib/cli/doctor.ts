/** `kernel-warehouse doctor`: its command line. doctor_report.ts does the work. */
import { Command } from 'commander';

export function doctorCommand(): Command {
  return new Command('doctor')
    .summary('check this installation')
    .description(
      'Check this installation: what is there, what is missing, and what to do. Exits with 0 when the CPU backend works, else 1.',
    )
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  $ kernel-warehouse doctor
  $ kernel-warehouse doctor --json`,
    )
    .action(async ({ json = false }: { json?: boolean }) => {
      const { runDoctor } = await import('./doctor_report.js');
      await runDoctor(json);
    });
}
