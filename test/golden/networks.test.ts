/** Whole networks and training runs, as far as continuous integration has time; `npm run golden` runs all of them on all devices. */
import test from 'ava';
import { devicesPresent } from '../devices.js';
import { casesFolder } from './cases.js';
import { nativeMachine } from './native_session.js';
import { describe, runCase } from './run_case.js';
import { type Machine, referenceMachine } from './session.js';

const natives = devicesPresent('heavy').map(nativeMachine);

/** On a device the outcome may be `flipped`: whether a ReLU that is zero but for rounding flips depends on the machine's instructions. */
function golden(name: string, machine: Machine, steps?: number): void {
  const title = steps === undefined ? `golden ${name} on ${machine.name}` : `golden ${name}, first ${steps} steps, on ${machine.name}`;
  test.serial(title, async (t) => {
    t.timeout(600_000);
    const report = await runCase(casesFolder, name, machine, steps);
    t.log(describe(report));
    t.true(report.outcome === 'passed' || report.outcome === 'flipped', describe(report));
  });
}

/** On the reference: each kind of layer in one network; the layers' own cases run there too. */
const onReference = [
  'resnet18',
  'mobilenetv2_100',
  'kw1x_mobilenetv2_100',
  'kw1d2x_mobilenetv2_100',
  'convnext_tiny',
  'deit_tiny',
  'baseline-dyconv4x_mobilenetv2_050',
  'baseline-odconv4x_mobilenetv2_050',
];
for (const name of onReference) golden(`network-${name}`, referenceMachine);
golden('training-sgd_resnet18', referenceMachine, 1);
for (const native of natives) {
  for (const name of [
    ...onReference,
    'kw1x_resnet18',
    'kw1x_deit_tiny',
    'kw1x_resnet18_tau',
    'kw1d2x_resnet18',
    'kw4x_resnet18',
    'kw1x_convnext_tiny',
    'baseline-kwstar4x_mobilenetv2_100',
    'baseline-dyconv4x_resnet18',
    'baseline-odconv4x_resnet18',
    'baseline-condconv_resnet18',
    ...['cgc', 'weightnet', 'dcd', 'se', 'cbam', 'eca'].map((method) => `baseline-${method}_resnet18`),
  ])
    golden(`network-${name}`, native);
  for (const name of ['sgd_resnet18', 'sgd_kw1x_resnet18', 'adamw_kw1x_mobilenetv2_050']) golden(`training-${name}`, native);
  // All six steps take the reference ten minutes, should it have to explain a difference.
  for (const name of ['adamw_kw1x_convnext_tiny', 'nesterov_kw1x_convnext_tiny']) golden(`training-${name}`, native, 2);
}
