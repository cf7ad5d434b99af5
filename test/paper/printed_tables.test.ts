/** What the paper prints: every line of its tables stands for a network that is here, and what it says in words agrees with the figures. */
import test from 'ava';
import { officialConfigNames } from '../../lib/configurations/configuration.js';
import { networkNames } from '../../lib/models/registry.js';
import { paperRows } from '../../lib/paper/printed_counts.js';
import { type PaperFigure, paperTables, paperValue } from '../../lib/paper/printed_tables.js';

const known = new Set([...networkNames(), ...officialConfigNames()]);

for (const { number, figures, lines } of paperTables) {
  test(`table ${number} has a network, a printed count and every figure for each line`, (t) => {
    for (const { configs, baseline, values } of lines) {
      t.is(values.length, figures.length, configs.join());
      t.true(values.every((value) => value > 0));
      t.true(lines.some((line) => line.configs.includes(baseline)));
      for (const config of configs) {
        t.true(known.has(config), config);
        const row = paperRows.find((one) => one.config === config);
        // Table 3 prints no counts.
        t.true(number === 3 ? row !== undefined : row?.tables.includes(number), config);
      }
    }
  });
  if (number === 3) continue;
  test(`table ${number} has every line of which a count is known`, (t) => {
    const configs = paperRows.filter(({ tables }) => tables.includes(number)).map(({ config }) => config);
    t.deepEqual(lines.flatMap((line) => line.configs).sort(), configs.sort());
  });
}

/** Gains that the paper prints or tells in its text. */
const gains: readonly (readonly [table: number, figure: PaperFigure, of: string, over: string, gain: number])[] = [
  [1, 'top1', 'se_resnet18', 'resnet18', 0.73],
  [1, 'top5', 'cbam_resnet18', 'resnet18', 0.47],
  [1, 'top1', 'eca_resnet18', 'resnet18', 0.35],
  [1, 'top5', 'cgc_resnet18', 'resnet18', 0.97],
  [1, 'top1', 'weightnet_resnet18', 'resnet18', 1.31],
  [1, 'top5', 'dcd_resnet18', 'resnet18', 1.27],
  [1, 'top1', 'condconv8x_resnet18', 'resnet18', 1.74],
  [1, 'top5', 'dyconv4x_resnet18', 'resnet18', 1.41],
  [1, 'top1', 'odconv4x_resnet18', 'resnet18', 3.72],
  [1, 'top5', 'kw4x_resnet18', 'resnet18', 2.04],
  [2, 'top1', 'kw1d4x_resnet18', 'resnet18', 2.29],
  [2, 'top1', 'kw4x_resnet50', 'dyconv4x_resnet50', 2.05],
  [2, 'top1', 'kw4x_resnet50', 'odconv4x_resnet50', 0.43],
  [2, 'top5', 'kw1x_convnext_tiny_split', 'convnext_tiny', 0.22],
  [3, 'boxAp', 'kw1x_resnet50', 'resnet50', 2.2],
  [3, 'maskAp', 'kw1x_resnet50', 'resnet50', 2.0],
  [4, 'top1', 'kw4x_mobilenetv2_050', 'mobilenetv2_050', 5.96],
  [4, 'top5', 'kw1x_mobilenetv2_100', 'mobilenetv2_100', 1.47],
  [10, 'top1', 'dyconv4x_contrasting_resnet18', 'resnet18', 3.3],
  [10, 'top5', 'odconv4x_contrasting_resnet18', 'resnet18', 1.9],
  [10, 'top1', 'kw4x_resnet18_softmax', 'resnet18', 3.87],
  [11, 'top1', 'kw4x_deit_tiny', 'deit_tiny', 4.38],
  [17, 'top1', 'kwstar4x_mobilenetv2_100', 'odconv4x_mobilenetv2_100', 1.12],
];

for (const [number, figure, of, over, gain] of gains) {
  test(`table ${number}: ${of} gains ${gain} of ${figure} over ${over}`, (t) => {
    const table = paperTables.find((one) => one.number === number)!;
    t.is(((paperValue(table, figure, of) ?? 0) - (paperValue(table, figure, over) ?? 0)).toFixed(2), gain.toFixed(2));
  });
}

test('a figure or a line that a table does not have is undefined', (t) => {
  t.is(paperValue(paperTables[0]!, 'framesPerSecond', 'resnet18'), undefined);
  t.is(paperValue(paperTables[0]!, 'top1', 'resnet50'), undefined);
});
