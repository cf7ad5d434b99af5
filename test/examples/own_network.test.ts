/** The example of docs/own-networks.md: what the page prints is what is there, it runs, and the command line takes its network. */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { kernelWarehouse, makeFolder, makeImages } from '../cli/program.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const page = readFileSync(join(root, 'docs', 'own-networks.md'), 'utf8');
const examples = ['my_network.mjs', 'own_network.mjs', 'my_described_network.mjs'];
const registering = { NODE_OPTIONS: `--import ${join(root, 'examples', 'my_network.mjs')}`, KW_NUM_THREADS: '1' };

const { path: folder, remove } = makeFolder();
test.after.always(remove);

/** The texts of the page's code blocks in a language. */
function blocks(language: string): string[] {
  return [...page.matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, found, text]) => (found === language ? [text as string] : []));
}

function withoutBlankLines(text: string): string {
  return text.replace(/\n+/g, '\n').trim();
}

function example(
  argumentsOfExample: readonly string[],
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(process.execPath, [join(root, 'examples', 'own_network.mjs'), ...argumentsOfExample], {
    env: { ...process.env, KW_NUM_THREADS: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

test('the page has the code of the examples, all of it', (t) => {
  const files = examples.map((name) => readFileSync(join(root, 'examples', name), 'utf8'));
  t.is(withoutBlankLines(blocks('js').join('\n')), withoutBlankLines(files.join('\n')));
});

test('the example counts, trains and gives feature maps; the described network has the same warehouses', async (t) => {
  const { code, stdout, stderr } = await example([join(folder, 'run'), '2']);
  t.is(code, 0, stderr);
  const [counts] = blocks('text');
  t.true(stdout.startsWith(counts as string), `the page prints\n${counts}\nbut the example\n${stdout}`);
  const warehouses = stdout.match(/^ {2}stage.*$/gm) ?? [];
  t.is(warehouses.length, 6);
  t.deepEqual(warehouses.slice(0, 3), warehouses.slice(3));
  t.regex(stdout, /^2 steps, 0 epochs done$/m);
  t.regex(stdout, /^feature map \[16, 4, 4, 64\], mean 0\.\d+$/m);
  t.regex(stdout, /^feature map \[16, 2, 2, 128\], mean 0\.\d+$/m);
});

test('train, resume, eval and plan take the network in a process that imports it, and say how to where it is not', async (t) => {
  const data = join(folder, 'data');
  const output = join(folder, 'trained');
  await makeImages(data, { train: 4, val: 2 });
  const options = ['--network', 'kw_my_network', '--image-size', '8', '--batch-size', '4'];
  const remedy =
    /no network.* 'kw_my_network'.* A network of your own has to be registered in this process: .*NODE_OPTIONS='--import \.\/FILE'/;
  const started = ['train', data, '--output', output, ...options, '--epochs', '1'];

  const unknown = await kernelWarehouse(started);
  t.is(unknown.code, 1);
  t.regex(unknown.stderr, remedy);
  const trained = await kernelWarehouse(started, { env: registering });
  t.is(trained.code, 0, trained.stderr);
  t.regex(trained.stdout, /^network +kw_my_network, /m);

  const resumed = ['train', data, '--output', output, '--resume', '--epochs', '2'];
  const evaluated = ['eval', data, '--weights', join(output, 'checkpoint.safetensors')];
  for (const verb of [resumed, evaluated]) {
    const without = await kernelWarehouse(verb);
    t.is(without.code, 1);
    t.regex(without.stderr, remedy);
    t.false(without.stderr.includes('    at '), without.stderr);
    const { code, stderr } = await kernelWarehouse(verb, { env: registering });
    t.is(code, 0, stderr);
  }

  const config = join(folder, 'mine.json');
  writeFileSync(config, '{"model": "kw_my_network", "cell_num_ratio": 4}');
  const planned = await kernelWarehouse(['plan', config, '--json', '--image-size', '8'], { env: registering });
  t.is(planned.code, 0, planned.stderr);
  t.like(JSON.parse(planned.stdout), [
    {
      network: 'kw_my_network',
      warehouses: [
        { m: 36, n: 144 },
        { m: 36, n: 144 },
        { m: 18, n: 72 },
      ],
    },
  ]);
});

test('both entries of the package have the names that a network needs, and one registry', async (t) => {
  const name = 'kernel-warehouse';
  const entry = (await import(name)) as Readonly<Record<string, unknown>>;
  const required = createRequire(import.meta.url)(name) as Readonly<Record<string, unknown>>;
  const names = [
    ...['registerNetwork', 'convolutionSpec', 'staticConvolution', 'kernelWarehouseConvolution', 'linearLayer', 'batchNormLayer'],
    ...['layerNormLayer', 'sharingName', 'Graph'],
    ...['describedNetwork', 'parseDescription', 'replaceConvolutions', 'openCheckpoint', 'trainingCheckpoint'],
  ];
  for (const known of names) {
    t.is(typeof entry[known], 'function', known);
    t.is(required[known], entry[known], known);
  }
  for (const internal of ['stagePart', 'residualSharingName', 'invertedResidualStages', 'classifierNames', 'describeMisfit'])
    t.false(internal in entry, internal);
  const ops = [
    ...['add', 'addBias', 'concat', 'conv2d', 'dropout', 'fill', 'gelu', 'globalAvgPool', 'linear', 'matmul', 'maxPool2d', 'multiply'],
    ...['relu', 'relu6', 'reshape', 'selfAttention', 'sigmoid', 'slice', 'layerNorm', 'batchNorm', 'samplewiseConv2d', 'mixCells'],
  ];
  for (const op of ops) t.is(typeof (entry.ops as Readonly<Record<string, unknown>>)[op], 'function', op);
});
