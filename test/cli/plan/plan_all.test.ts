/** `plan --all` against allocations and counts that the authors' own code made. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { officialConfigNames } from '../../../lib/configurations/configuration.js';
import { kernelWarehouse } from '../program.js';

interface Layer {
  readonly name: string;
  readonly weightShape: readonly number[];
  readonly inPlanes: number;
  readonly groups: number;
  readonly mixtures: number;
  readonly startCell: number;
  readonly hidden: number;
  readonly bias: boolean;
  readonly attentionParams: number;
  readonly odHeads?: { readonly channel: number; readonly filter: number; readonly spatial: number };
}

interface Config {
  readonly config: string;
  readonly params: number;
  readonly warehouseParams: number;
  readonly attentionParams: number;
  readonly staticParams: number;
  readonly warehouses: readonly {
    readonly name: string;
    readonly cell: readonly number[];
    readonly m: number;
    readonly n: number;
    readonly b: number;
    readonly reduction: number;
    readonly layers: readonly Layer[];
  }[];
}

interface Golden {
  readonly configs: readonly (Config & { readonly paperCountM: number })[];
  readonly baselines: readonly { readonly model: string; readonly paperCountM: number; readonly params: number; readonly match: boolean }[];
  readonly table14: readonly { readonly config: string; readonly result: string }[];
}

interface Paper {
  readonly row: string;
  readonly tables: readonly (number | string)[];
  readonly paperCountM: number;
  readonly agreement: string;
  readonly table14: string | null;
  readonly table15: string | null;
  readonly note: string | null;
}

type Line = Config & { readonly flops: number; readonly paper: Paper };

const golden = JSON.parse(readFileSync(new URL('../../../../test/golden/allocation.json', import.meta.url), 'utf8')) as Golden;

let lines: readonly Line[] = [];

test.before(async (t) => {
  t.timeout(120_000);
  const { code, stdout, stderr } = await kernelWarehouse(['plan', '--all', '--json']);
  t.is(stderr, '');
  t.is(code, 0);
  lines = JSON.parse(stdout);
});

/** The part of a configuration that both sides have. */
function common({ config, params, warehouseParams, attentionParams, staticParams, warehouses }: Config): Config {
  return {
    config,
    params,
    warehouseParams,
    attentionParams,
    staticParams,
    warehouses: warehouses.map(({ name, cell, m, n, b, reduction, layers }) => ({
      name,
      cell,
      m,
      n,
      b,
      reduction,
      layers: layers.map(
        ({ name: layer, weightShape, inPlanes, groups, mixtures, startCell, hidden, bias, attentionParams: values, odHeads }): Layer => ({
          name: layer,
          weightShape,
          inPlanes,
          groups,
          mixtures,
          startCell,
          hidden,
          bias,
          attentionParams: values,
          ...(odHeads ? { odHeads } : {}),
        }),
      ),
    })),
  };
}

for (const expected of golden.configs) {
  test(`${expected.config} is allocated as by the authors' code`, (t) => {
    const actual = lines.find(({ config }) => config === expected.config);
    t.deepEqual(actual && common(actual), common(expected));
    t.is(actual?.paper.paperCountM, expected.paperCountM);
  });
}

test('every configuration that comes with the package is a row, and all that the paper counts are there once', (t) => {
  const names = lines.map(({ config }) => config);
  t.deepEqual(
    officialConfigNames().filter((name) => !names.includes(name)),
    [],
  );
  t.is(new Set(names).size, names.length);
});

test('rows of the tables on partition, sharing, attention functions and initialization', (t) => {
  const counts = Object.fromEntries(lines.map(({ config, params }) => [config, params]));
  t.like(counts, {
    kw1x_resnet18_without_partition: 11_776_974,
    kw1x_resnet18_without_partition_within_stage: 11_777_580,
    kw1x_resnet18_within_layer: 11_805_134,
    kw1x_resnet18_without_sharing: 11_782_094,
    kw1x_resnet18_without_sharing_within_stage: 11_783_114,
    kw1x_resnet18_softmax: 11_932_148,
    kw1x_resnet18_sigmoid: 11_932_148,
    kw1x_resnet18_rectified: 11_932_148,
    kw4x_resnet18_softmax: 45_862_085,
    kw1x_resnet18_without_initialization: 11_932_148,
    kw1x_resnet18_all_to_one: 11_932_148,
    kw4x_resnet18_several_to_one: 45_862_085,
    kw1d2x_resnet18_one_to_several: 7_431_044,
  });
  const tables = lines.flatMap(({ paper }) => paper.tables);
  for (const table of [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17]) t.true(tables.includes(table), `table ${table}`);
});

test('static networks and other methods have the golden counts', (t) => {
  const other = golden.baselines.filter(({ model }) => !model.includes('floor 8'));
  const row = (name: string) => name.replace(/MobileNetV2 (\d\.\d)/, 'MobileNetV2 ($1x)').replace(/ (\d)x$/, ' ($1x)');
  t.is(other.length, 22);
  for (const { model, paperCountM, params, match } of other) {
    const line = lines.find(({ paper }) => paper.row === row(model));
    t.is(line?.params, params, model);
    t.is(line?.paper.paperCountM, paperCountM, model);
    t.is(line?.paper.agreement === 'rounded', match, model);
  }
});

test('three counts are given by nothing, two only by rounding up', (t) => {
  const rows = (agreement: string) => lines.filter(({ paper }) => paper.agreement === agreement).map(({ config }) => config);
  t.deepEqual(rows('no'), ['cgc_resnet18', 'weightnet_resnet18', 'kw1d4x_resnet18']);
  t.deepEqual(rows('rounded up'), ['deit_small', 'kw1x_deit_tiny']);
  for (const { paper } of lines.filter(({ config }) => config.startsWith('kw') && config.includes('deit')))
    t.regex(paper.note ?? '', /^reconstruction/);
});

test('agreement with Tables 14 and 15, with the differences', (t) => {
  const results = lines.filter(({ paper }) => paper.table14 !== null).map(({ config, paper }) => ({ config, result: paper.table14 }));
  const byName = (a: { config: string }, b: { config: string }) => a.config.localeCompare(b.config);
  t.deepEqual(
    results.toSorted(byName),
    golden.table14
      .map(({ config, result }) => ({ config, result: result === 'identical, same order' ? 'agrees' : result }))
      .toSorted(byName),
  );
  t.deepEqual(
    lines.filter(({ paper }) => paper.table15 !== null).map(({ config, paper }) => [config, paper.table15]),
    [['kw1x_resnet18', 'agrees']],
  );
});

test('for people: one table with notes, and sentences on what is not reproduced', async (t) => {
  const { code, stdout } = await kernelWarehouse(['plan', '--all']);
  t.is(code, 0);
  t.regex(
    stdout,
    /│ kw1x_resnet18 +│ 1, 2, 5, 6, 8, +│ +11\.93M │ +11,932,148 │ rounded +│ 56, 47x2, 27 +│ = m +│ agrees +│ agrees +│ +4\.41/,
  );
  t.regex(stdout, /│ cgc_resnet18 +│ 1 +│ +11\.69M │ +11,721,791 │ no, \+0\.03M │/);
  t.regex(stdout, /│ deit_small .* 22,050,664 │ rounded up │/);
  t.regex(stdout, /^\[\d+\] reconstruction: /m);
  t.regex(stdout, /^Not reproduced: ResNet18 \+ KW \(1\/4x\), printed 4\.08M, 4,031,768 by kw1d4x_resnet18 \(-0\.05M\)\.$/m);
});

test('--all takes neither names nor options that change the counts', async (t) => {
  const named = await kernelWarehouse(['plan', '--all', 'kw1x_resnet18']);
  t.is(named.code, 1);
  t.regex(named.stderr, /--all takes no names, got kw1x_resnet18/);
  for (const option of ['--classes', '--image-size']) {
    const { code, stderr } = await kernelWarehouse(['plan', '--all', option, '32']);
    t.not(code, 0);
    t.regex(stderr, new RegExp(`--all.*cannot be used with option.*${option}`));
  }
});
