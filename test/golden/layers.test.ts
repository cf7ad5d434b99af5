import test from 'ava';
import { devicesPresent } from '../devices.js';
import { casesFolder } from './cases.js';
import { nativeMachine } from './native_session.js';
import { describe, runCase } from './run_case.js';
import { referenceMachine } from './session.js';

const cases = [
  ...['b1', 'b4', 'bhalf', 'bquarter', 'depthwise', 'layernorm', 'linear', 'nonlocal', 'nopartition'],
  ...['conv1d', 'conv1d_nopartition', 'conv1d_single', 'conv2d_nonsquare'],
  ...['conv3d', 'conv3d_depthwise', 'conv3d_nopartition', 'conv3d_single'],
  ...['kwstar', 'kwstar_depthwise', 'dyconv', 'dyconv_contrasting', 'odconv', 'odconv_contrasting', 'condconv', 'condconv_block'].map(
    (name) => `baseline-${name}`,
  ),
  ...['cgc', 'weightnet', 'dcd', 'se', 'cbam', 'eca'].map((method) => `baseline-${method}`),
];

for (const name of cases) {
  for (const machine of [referenceMachine, ...devicesPresent().map(nativeMachine)]) {
    test(`golden layer ${name} on ${machine.name}`, async (t) => {
      const report = await runCase(casesFolder, `layer-${name}`, machine);
      t.is(report.outcome, 'passed', describe(report));
    });
  }
}
