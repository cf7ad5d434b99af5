/** What counts as the printed count, and how differences from Tables 14 and 15 read. */
import test from 'ava';
import { Model } from '../../lib/models/model.js';
import { selectModel } from '../../lib/models/select.js';
import { countAgreement, table14Differences, table15Differences } from '../../lib/paper/agreement.js';
import { paperRows } from '../../lib/paper/printed_counts.js';

test('counts round half up, or up, or not to the printed one', (t) => {
  t.is(countAgreement(11_925_000, 11.93), 'rounded');
  t.is(countAgreement(11_934_999, 11.93), 'rounded');
  t.is(countAgreement(11_924_999, 11.93), 'rounded up');
  t.is(countAgreement(11_920_001, 11.93), 'rounded up');
  t.is(countAgreement(11_920_000, 11.93), 'no');
  t.is(countAgreement(11_935_000, 11.93), 'no');
  t.is(countAgreement(28_052_310, 28.05), 'rounded');
});

test('differences from Table 14 name the warehouse and both numbers', (t) => {
  const warehouses = [56, 47, 47, 27].map((m, index) => ({ name: `stage${index}`, m, n: m }));
  t.is(table14Differences('kw1x_resnet18', warehouses), '');
  t.is(table14Differences('kw1x_resnet18_softmax', warehouses), undefined);
  const changed = warehouses.map((warehouse, index) => (index === 2 ? { ...warehouse, n: 46 } : warehouse));
  t.is(table14Differences('kw1x_resnet18', changed), '#3 (stage2) n 47->46 (table -> here)');
  t.regex(table14Differences('kw1x_resnet18', warehouses.slice(1)) ?? '', /^3 warehouses here, 4 in the table; here m=\[47, 47, 27\]$/);
});

test('differences from Table 15 show where a convolution stands', (t) => {
  const allocationOf = (name: string) => new Model(selectModel(name).model).allocation as NonNullable<Model['allocation']>;
  t.is(table15Differences('kw1x_resnet18', allocationOf('kw1x_resnet18')), '');
  t.is(table15Differences('kw4x_resnet18', allocationOf('kw4x_resnet18')), undefined);
  t.regex(
    table15Differences('kw1x_resnet18', allocationOf('kw1x_resnet18_within_layer')) ?? '',
    /#5 128x64 of stage 2 \(cells 128x64\) in 1 \(cells 64x64\) -> 128x64 of stage 2 \(cells 128x64\) in \d+ \(cells 128x64\)/,
  );
  t.regex(
    table15Differences('kw1x_resnet18', allocationOf('kw1x_resnet50')) ?? '',
    /^#4 64x64 of stage 1 \(cells 64x64\) in 1 \(cells 64x64\) -> 128x128 of stage 2 .*; #16 .* \(table -> here\)$/,
  );
});

test('a row stands for a configuration that is known', (t) => {
  for (const { row, config } of paperRows) t.notThrows(() => selectModel(config), row);
});
