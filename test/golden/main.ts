/**
 * `npm run golden -- [DIR] [--only NAME]... [--device reference|cpu]... [--accept-flipped]`: runs a folder of golden cases and says how close they
 * came. Fails when a figure is beyond its bound; with --accept-flipped not where the only cause is proved to be ReLUs that flipped by rounding.
 */
import { parseArgs } from 'node:util';
import { devicesPresent } from '../devices.js';
import { casesFolder } from './cases.js';
import { caseNames } from './format.js';
import { nativeMachine } from './native_session.js';
import { type CaseReport, describe, type Outcome, runCase } from './run_case.js';
import { referenceMachine } from './session.js';

const machines = [referenceMachine, ...devicesPresent().map(nativeMachine)];

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      only: { type: 'string', multiple: true },
      device: { type: 'string', multiple: true },
      'accept-flipped': { type: 'boolean', default: false },
    },
  });
  if (positionals.length > 1) fail('expected one folder');
  const folder = positionals[0] ?? casesFolder;
  const available = await caseNames(folder).catch((error: Error) => fail(error.message));
  const names = values.only ?? available;
  for (const name of names) if (!available.includes(name)) fail(`no case '${name}' in ${folder}; it has ${available.join(', ')}`);
  const wanted = values.device ?? machines.map(({ name }) => name);
  for (const name of wanted)
    if (!machines.some((machine) => machine.name === name))
      fail(`no device '${name}'; known are ${machines.map(({ name: known }) => known).join(', ')}`);

  const reports: CaseReport[] = [];
  for (const name of names) {
    for (const machine of machines.filter((each) => wanted.includes(each.name))) {
      const report = await runCase(folder, name, machine);
      reports.push(report);
      console.log(describe(report));
      for (const { name: figure, deviation, bound, verdict } of report.judgements) {
        if (verdict === 'failed') console.log(`    ${figure}: ${deviation.toExponential(2)}, at most ${bound.toExponential(1)}`);
      }
    }
  }
  const count = (outcome: Outcome) => reports.filter((report) => report.outcome === outcome).length;
  const unjudged = reports.flatMap(({ judgements }) => judgements).filter(({ verdict }) => verdict === 'not judged').length;
  console.log(
    `${count('passed')} passed, ${count('flipped')} beyond the bounds by flipped ReLUs, ${count('failed')} failed, ${count('not runnable')} not runnable; ${unjudged} figures too unstable to be judged in float32`,
  );
  const accepted = count('passed') + (values['accept-flipped'] ? count('flipped') : 0);
  process.exitCode = accepted === reports.length ? 0 : 1;
}

await main();
