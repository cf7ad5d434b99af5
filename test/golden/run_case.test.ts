/** The runner itself: what it cannot run it says, and what is wrong fails. */
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { casesFolder } from './cases.js';
import { readCase } from './format.js';
import { runCase } from './run_case.js';
import { type Machine, referenceMachine } from './session.js';

async function folderWith(t: ExecutionContext, name: string, value: unknown): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'golden-'));
  t.teardown(() => rm(folder, { recursive: true }));
  await writeFile(join(folder, `${name}.json`), JSON.stringify(value));
  return folder;
}

test('networks, options and baselines that are unknown are not runnable, with the reason', async (t) => {
  const file = await readCase<{ case: object }>(casesFolder, 'network-resnet18');
  const change = (changes: object) => ({ ...file, case: { ...file.case, ...changes } });
  const report = async (changes: object) =>
    runCase(await folderWith(t, 'network-other', change(changes)), 'network-other', referenceMachine);
  t.like(await report({ model: 'resnet9000' }), { outcome: 'not runnable' });
  t.regex((await report({ model: 'resnet9000' })).reason ?? '', /resnet9000/);
  t.like(await report({ model: 'kw_resnet18', config: { cell_number: 3 } }), { outcome: 'not runnable' });
  t.like(await report({ model: 'kw_resnet18', config: { dropout: 0.2 } }), { outcome: 'not runnable' });
});

test('baseline methods that are unknown are not runnable, and a KW* layer that starts elsewhere fails', async (t) => {
  const network = await readCase<{ case: object }>(casesFolder, 'network-baseline-kwstar1x_resnet18');
  const other = await folderWith(t, 'network-baseline-other', { ...network, case: { ...network.case, module: 'other', options: {} } });
  const unknown = await runCase(other, 'network-baseline-other', referenceMachine);
  t.is(unknown.outcome, 'not runnable');
  t.regex(unknown.reason ?? '', /^no network 'other_resnet18'/);
  const layers = await readCase<{ starts: number[]; case: { layers: object[] } }>(casesFolder, 'layer-baseline-kwstar');
  const tensorsOf = (folder: string) =>
    copyFile(join(casesFolder, 'layer-baseline-kwstar.safetensors'), join(folder, 'layer-baseline-kwstar.safetensors'));
  const modules = layers.case.layers.map((layer) => ({ ...layer, module: 'other' }));
  const unheard = await folderWith(t, 'layer-baseline-kwstar', { ...layers, case: { ...layers.case, layers: modules } });
  await tensorsOf(unheard);
  t.like(await runCase(unheard, 'layer-baseline-kwstar', referenceMachine), {
    outcome: 'not runnable',
    reason: 'the baseline module other is not supported yet',
  });
  const moved = await folderWith(t, 'layer-baseline-kwstar', { ...layers, starts: [0, 36, 107] });
  await tensorsOf(moved);
  const report = await runCase(moved, 'layer-baseline-kwstar', referenceMachine);
  t.is(report.outcome, 'failed');
  t.true(report.judgements.every(({ name, verdict }) => verdict === 'passed' || name === 'start cells'));
});

test('layers of an unknown type, with unknown fields, or of impossible sizes are not runnable, with the reason', async (t) => {
  const file = await readCase<{ case: { layers: object[] } }>(casesFolder, 'layer-conv3d');
  const tensors = await readFile(join(casesFolder, 'layer-conv3d.safetensors'));
  const report = async (changes: object) => {
    const layers = file.case.layers.map((layer) => ({ ...layer, ...changes }));
    const folder = await folderWith(t, 'layer-other', { ...file, case: { ...file.case, layers } });
    await writeFile(join(folder, 'layer-other.safetensors'), tensors);
    return runCase(folder, 'layer-other', referenceMachine);
  };
  t.like(await report({ type: 'conv4d' }), { outcome: 'not runnable', reason: "layers.0: no layers of type 'conv4d'" });
  t.like(await report({ transposed: true }), { outcome: 'not runnable', reason: 'layers.0: unknown fields transposed' });
  t.like(await report({ stride: [1, 2] }), { outcome: 'not runnable' });
  t.regex((await report({ stride: [1, 2] })).reason ?? '', /expected stride to be .* 3 for conv3d/);
});

test('a missing file and a parameter of another shape fail', async (t) => {
  t.is((await runCase(casesFolder, 'network-missing', referenceMachine)).outcome, 'failed');
  const file = await readCase<{ params: { name: string; shape: number[] }[] }>(casesFolder, 'network-resnet18');
  const params = file.params.map((each) => (each.name === 'conv1.weight' ? { ...each, shape: [64, 3, 7, 8] } : each));
  const folder = await folderWith(t, 'network-resnet18', { ...file, params });
  t.regex((await runCase(folder, 'network-resnet18', referenceMachine)).reason ?? '', /conv1.weight/);
});

test('a temperature that is a little off fails', async (t) => {
  const machine: Machine = {
    ...referenceMachine,
    async prepare(graph, name) {
      const session = await referenceMachine.prepare(graph, name);
      const write: typeof session.write = (kind, leaf, values) =>
        session.write(kind, leaf, kind === 'control' ? [values[0]! + 1e-5] : values);
      return { write, read: (kind, leaf) => session.read(kind, leaf), run: () => session.run(), close: () => session.close() };
    },
  };
  t.is((await runCase(casesFolder, 'layer-b4', machine)).outcome, 'failed');
});
