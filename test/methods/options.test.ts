/** Options are declared once: what configurations, programs, `plan --options` and docs/methods.md say of them follows. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { methodConfigFields, parseConfig, warehouseConfigFields } from '../../lib/configurations/configuration.js';
import { methods } from '../../lib/methods/methods.js';
import { type ListedOption, listOptions } from '../../lib/methods/option_list.js';
import { methodOptions } from '../../lib/methods/options.js';
import { warehouseOptions } from '../../lib/warehouse/index.js';
import { kernelWarehouse } from '../cli/program.js';

const page = readFileSync(new URL('../../../docs/methods.md', import.meta.url), 'utf8');

function line({ field, option, defaults, help }: ListedOption): string {
  const code = (text: string) => `\`${text}\``;
  const values = Object.entries(defaults).map(([method, value]) => `${method} ${code(JSON.stringify(value))}`);
  return `| ${field === undefined ? '' : code(field)} | ${code(option)} | ${values.join(', ')} | ${help} |`;
}

test('docs/methods.md lists every option as it is declared', (t) => {
  const head = '| field | option | default | meaning |\n|---|---|---|---|\n';
  const start = page.indexOf(head);
  t.true(start > 0);
  const [table = ''] = page.slice(start + head.length).split('\n\n');
  t.is(table.trimEnd(), listOptions().map(line).join('\n'));
});

test('every option has a method that takes it, and is in its range by default', (t) => {
  for (const { option, defaults } of listOptions()) t.true(Object.keys(defaults).length > 0, option);
  for (const [name, declaration] of Object.entries(warehouseOptions)) t.true(declaration.type.safeParse(declaration.default).success, name);
  for (const { name, defaults } of methods) {
    for (const [option, value] of Object.entries(defaults)) {
      t.true(methodOptions[option as keyof typeof methodOptions].type.safeParse(value).success, `${name}: ${option}`);
    }
  }
});

test('every declared field is one of a configuration', (t) => {
  const fields = listOptions().flatMap(({ field }) => field ?? []);
  t.deepEqual(new Set(fields), new Set([...warehouseConfigFields, ...methodConfigFields]));
  for (const field of fields)
    t.throws(() => parseConfig({ model: 'resnet18', [field]: {} }), { message: new RegExp(`: ${field}: expected`) });
});

test('plan --options prints all of them', async (t) => {
  const { code, stdout, stderr } = await kernelWarehouse(['plan', '--options', '--json']);
  t.is(code, 0, stderr);
  t.deepEqual(JSON.parse(stdout), JSON.parse(JSON.stringify(listOptions())));
  const table = await kernelWarehouse(['plan', '--options']);
  for (const { field = '-', option } of listOptions()) t.regex(table.stdout, new RegExp(`^│ ${field} +│ ${option} +│`, 'm'));
  const named = await kernelWarehouse(['plan', '--options', 'resnet18']);
  t.regex(named.stderr, /--options takes no names, got resnet18/);
});
