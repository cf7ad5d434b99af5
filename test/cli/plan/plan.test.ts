/** `plan` of single networks; plan_all.test.ts compares whole allocations. */
import test from 'ava';
import { kernelWarehouse } from '../program.js';

interface Report {
  readonly params: number;
  readonly flops: number;
  readonly stem: string;
  readonly classes: number;
  readonly memory: Readonly<Record<string, number>> & { readonly mode: string };
}

async function planOf(...options: string[]): Promise<Report> {
  const { stdout } = await kernelWarehouse(['plan', ...options, '--json']);
  return (JSON.parse(stdout) as [Report])[0];
}

test('operations of ResNet-18 are the well-known 1.8 G multiply-adds', async (t) => {
  const { flops, params, memory } = await planOf('resnet18');
  t.is(params, 11_689_512);
  t.true(flops > 3.6e9 && flops < 3.7e9, String(flops));
  t.is(memory.mode, 'inference');
  t.is(memory.gradients, 0);
  t.is(memory.optimizer, 0);
});

test('memory of training has gradients and the optimizer of the parameters shape, and adds up', async (t) => {
  const common = ['kw_resnet18', '--image-size', '32', '--classes', '10', '--training'];
  const sgd = await planOf(...common, '--batch-size', '2');
  const adamw = await planOf(...common, '--batch-size', '4', '--optimizer', 'adamw');
  t.is(sgd.stem, 'small');
  t.is(sgd.classes, 10);
  for (const { memory, params } of [sgd, adamw]) {
    const { mode, batchSize, total, ...parts } = memory as Report['memory'] & { batchSize: number; total: number };
    t.is(mode, 'training');
    t.true(batchSize > 0);
    t.is(
      Object.values(parts).reduce((a, b) => a + Number(b), 0),
      total,
    );
    t.true(Number(parts.parameters) >= 4 * params);
    t.is(parts.gradients, parts.parameters);
  }
  t.is(sgd.memory.optimizer, sgd.memory.parameters);
  t.is(adamw.memory.optimizer, 2 * Number(adamw.memory.parameters));
  t.true(Number(adamw.memory.workspace) > Number(sgd.memory.workspace));
});

test('for people: a table of warehouses and layers, or a line for each network', async (t) => {
  const one = await kernelWarehouse(['plan', 'kw1x_resnet18']);
  t.is(one.code, 0);
  t.regex(one.stdout, /^parameters +11,932,148: cells 11,\d{3},\d{3}, attentions [\d,]+, static [\d,]+$/m);
  t.regex(one.stdout, /│ stage0_l_c +│ 64 x 64 x 1 x 1 +│/);
  t.regex(one.stdout, /│ {3}layer1\.0\.conv1 +│ {3}64 x 64 x 3 x 3 +│/);
  t.false(one.stdout.includes('\u001b'));
  const all = await kernelWarehouse(['plan', '--image-size', '32']);
  for (const name of ['resnet18', 'kw_resnet50', 'kw1d4x_resnet18']) t.regex(all.stdout, new RegExp(`^│ ${name} +│`, 'm'));
});

test('images that are too small for a network: the least size', async (t) => {
  const { code, stderr } = await kernelWarehouse(['plan', 'convnext_tiny', '--image-size', '8']);
  t.is(code, 1);
  t.regex(stderr, /^kernel-warehouse: expected images of at least 32 pixels for convnext_tiny, got 8: .*a kernel of 2x2 .*\n$/);
});

test('a network that is none is named with the nearest one', async (t) => {
  const { code, stderr } = await kernelWarehouse(['plan', 'kw1x_resnet81']);
  t.is(code, 1);
  t.regex(stderr, /^kernel-warehouse: no network or configuration 'kw1x_resnet81'; did you mean 'kw1x_resnet18'\?/);
});
