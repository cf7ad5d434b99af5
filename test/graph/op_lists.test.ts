/** What an op needs outside of its own file, and lists and numbers that are written down in both languages: each must agree with the others. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { operations } from '../../lib/graph/ops/index.js';
import { loadNative } from '../../lib/runtime/native.js';
import { samples } from '../properties/samples.js';
import { referenceOperations } from '../reference/operations.js';

const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!readdirSync(folder).includes('package.json')) folder = dirname(folder);
  return folder;
})();

const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** All source text below a folder. */
function sourcesBelow(folder: string): string {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(cc|cu|cuh|h)$/.test(name))
    .map((name) => read(join(folder, name)))
    .join('\n');
}

/** Ops that lowering removes: no backend sees them. */
const graphOnly = ['leaf', 'reshape'];

const planned = loadNative().opNames;

test('every op of the graph can stand in a plan, and every op of a plan comes from the graph', (t) => {
  for (const name of operations.keys()) {
    t.true(graphOnly.includes(name) || planned.includes(name), `The op '${name}' of lib/graph/ops is missing in native/ops/op_list.h`);
  }
  for (const name of planned) {
    t.true(operations.has(name), `The op '${name}' of native/ops/op_list.h is missing in lib/graph/ops/index.ts`);
  }
});

test('every op has a kernel in each backend', (t) => {
  for (const backend of ['cpu', 'cuda']) {
    const text = sourcesBelow(`native/${backend}`);
    for (const name of planned) {
      t.regex(
        text,
        new RegExp(`\\bops::${name}\\b`),
        `The op '${name}' has no kernel in native/${backend}: no file there registers ops::${name}`,
      );
    }
  }
});

test('every op has a row in the table of docs/ops.md, and every row is one of an op', (t) => {
  const table = read('docs/ops.md').split('| op | inputs | outputs |')[1]!.split('\n\n')[0]!;
  const rows = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name!);
  for (const name of planned) t.true(rows.includes(name), `The op '${name}' has no row in the table of docs/ops.md`);
  for (const name of rows) t.true(planned.includes(name), `docs/ops.md has a row '${name}', which is no op of native/ops/op_list.h`);
  t.is(new Set(rows).size, rows.length, 'docs/ops.md has an op twice');
});

test('every op has a reference and a sample of its inputs', (t) => {
  for (const name of planned) {
    t.true(name in referenceOperations, `The op '${name}' has no reference in test/reference/operations.ts`);
    t.true(name in samples, `The op '${name}' has no sample in test/properties/samples.ts`);
  }
});

test('errors of the native side have the same codes in C++, in C and in TypeScript', (t) => {
  const codes = read('native/runtime/error.h')
    .match(/enum class ErrorCode \{([^}]*)\}/)![1]!
    .split(',')
    .map((name) => name.trim().toUpperCase());
  const header = read('native/include/kernel_warehouse.h').match(/typedef enum kw_status \{([\s\S]*?)\} kw_status;/)![1]!;
  const statuses = [...header.matchAll(/^ {2}KW_(\w+) = \d+/gm)].map(([, name]) => name!).filter((name) => name !== 'OK');
  const thrown = [...read('lib/errors.ts').matchAll(/'ERR_KW_(\w+)'/g)].map(([, name]) => name!);
  t.deepEqual(statuses, codes, 'native/include/kernel_warehouse.h and native/runtime/error.h name different errors');
  const table = read('native/c_api/c_api.cc');
  for (const name of codes) {
    t.regex(table, new RegExp(`KW_STATUS\\(${name.toLowerCase()}, KW_${name}\\)`), `native/c_api/c_api.cc has no row for KW_${name}`);
    t.true(thrown.includes(name), `lib/errors.ts has no 'ERR_KW_${name}'`);
  }
});

test('what step_kernels.ts knows of kernels is what the kernels have', (t) => {
  const number = (path: string, name: string) => {
    const found = read(path).match(new RegExp(`\\b${name} = (\\d+);`));
    t.truthy(found, `${path} has no constant ${name}`);
    return Number(found?.[1]);
  };
  const kernels = 'lib/bench/bounds/step_kernels.ts';
  t.is(number(kernels, 'leastPositions'), number('native/cuda/convolution/library_convolution.cu', 'kLeastPositions'));
  t.is(number(kernels, 'fewRows'), number('native/cuda/normalization/batch_norm.h', 'kFewRows'));
});
