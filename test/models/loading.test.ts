/** Weights and networks: what fits, what does not and how it is said, and what the shapes of weights tell. */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type TensorSource, tensorsInMemory } from '../../lib/checkpoint/checkpoint_file.js';
import type { StoredTensor } from '../../lib/checkpoint/stored_tensor.js';
import { officialConfig, officialConfigNames } from '../../lib/configurations/configuration.js';
import { classifierNames, fitOptions } from '../../lib/models/fitting.js';
import { ModelInstance } from '../../lib/models/instance.js';
import { describeMisfit } from '../../lib/models/load_report.js';
import { Model } from '../../lib/models/model.js';
import type { ModelOptions } from '../../lib/models/model_options.js';
import { modelOptionsSchema } from '../../lib/models/model_options.js';
import { configOfSettings, modelOptions, selectModel } from '../../lib/models/select.js';
import { Device } from '../../lib/runtime/device.js';

const options: ModelOptions = { network: 'resnet18', classes: 3, stem: 'small' };

/** A source of these shapes, which cannot be read. */
function shapes(entries: Iterable<readonly [string, readonly number[]]>): TensorSource {
  const known = new Map(entries);
  return {
    names: [...known.keys()],
    has: (name) => known.has(name),
    entry: (name) => ({ type: 'F32', shape: known.get(name) ?? [] }),
    read: () => Promise.reject(new Error('only shapes are wanted')),
  };
}

function shapesOf(model: Model, changes: Readonly<Record<string, readonly number[] | undefined>> = {}): TensorSource {
  const own = new Map<string, readonly number[]>(model.declarations.map(({ name, shape }) => [name, shape]));
  for (const [name, shape] of Object.entries(changes)) {
    if (shape) own.set(name, shape);
    else own.delete(name);
  }
  return shapes(own);
}

test('the report has every name, and names the nearest', (t) => {
  const model = new Model(options);
  const source = shapesOf(model, {
    'layer1.0.conv1.weight': undefined,
    'layer1.0.conv1.wieght': [64, 64, 3, 3],
    'fc.weight': [5, 512],
    'bn1.num_batches_tracked': [],
    'optimizer.momentum.fc.weight': [3, 512],
    'extra\n\x1b[2J': [1],
  });
  const report = model.compare(source);
  t.is(report.loaded.length, model.declarations.length - 2);
  t.deepEqual(report.missing, [{ name: 'layer1.0.conv1.weight', shape: [64, 64, 3, 3], nearest: 'layer1.0.conv1.wieght' }]);
  t.deepEqual(report.wrongShape, [{ name: 'fc.weight', expected: [3, 512], found: [5, 512] }]);
  t.deepEqual(report.unexpected, ['layer1.0.conv1.wieght', 'extra\n\x1b[2J']);
  t.deepEqual(report.ignored, ['bn1.num_batches_tracked', 'optimizer.momentum.fc.weight']);
  t.is(
    describeMisfit(report),
    'missing (1): \'layer1.0.conv1.weight\' [64, 64, 3, 3] (the file has "layer1.0.conv1.wieght"); ' +
      "wrong shape (1): 'fc.weight' is [5, 512], expected [3, 512]; " +
      'unexpected (2): "layer1.0.conv1.wieght", "extra\\n\\u001b[2J"',
  );
  t.is(describeMisfit(model.compare(shapesOf(model))), undefined);
  const nearest = (changes: Readonly<Record<string, readonly number[] | undefined>>) =>
    model.compare(shapesOf(model, changes)).missing.map((tensor) => tensor.nearest);
  const [first, second] = ['layer1.0.conv1.weight', 'layer1.0.conv2.weight'];
  t.deepEqual(nearest({ [first]: undefined, 'layer1.0.conv1.wieght': [64, 32, 3, 3] }), [undefined], 'another shape');
  t.deepEqual(nearest({ [first]: undefined, 'features.1.conv.2.weight': [64, 64, 3, 3] }), [undefined], 'too little in common');
  t.deepEqual(nearest({ [first]: undefined, [second]: undefined, 'layer1.0.conv3.weight': [64, 64, 3, 3] }), [
    'layer1.0.conv3.weight',
    undefined,
  ]);
  t.regex(describeMisfit(model.compare(shapes([]))) ?? '', /^missing \(\d+\): ('[\w.]+' \[[\d, ]+\](, )?){5} and \d+ more$/);
});

test('a 1x1 convolution is no linear layer', (t) => {
  const model = new Model(options);
  const { wrongShape } = model.compare(shapesOf(model, { 'fc.weight': [3, 512, 1, 1] }));
  t.deepEqual(wrongShape, [{ name: 'fc.weight', expected: [3, 512], found: [3, 512, 1, 1] }]);
});

test('a hundred thousand foreign names are compared in little time', (t) => {
  const names = Array.from({ length: 100_000 }, (_, i) => [`${'x'.repeat(i % 300)}${i}`, [1]] as const);
  const begun = process.cpuUsage();
  t.is(new Model(options).compare(shapes(names)).unexpected.length, 100_000);
  t.true(process.cpuUsage(begun).user < 10e6, 'microseconds');
});

/** Of every stored tensor; AVA compares large arrays slowly. */
async function digests(instance: ModelInstance): Promise<[string, string][]> {
  const digest = (data: Float32Array) => createHash('sha1').update(data).digest('hex');
  return [...(await instance.save())].map(([name, { data }]) => [name, digest(data)]);
}

test('loading: all or nothing unless told otherwise', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using first = new ModelInstance(new Model(options), device);
  await first.initialize(1);
  const tensors: Map<string, StoredTensor> = new Map(await first.save());
  const value = async (instance: ModelInstance, name: string) => (await instance.save()).get(name)?.data[0];
  const name = 'layer1.0.conv1.weight';
  const initial = tensors.get(name) as StoredTensor;

  using second = new ModelInstance(first.model, device);
  t.deepEqual((await second.load(tensorsInMemory(tensors))).missing, []);
  t.deepEqual(await digests(second), await digests(first));

  await second.initialize(2);
  const before = await second.save();
  const digestsBefore = await digests(second);
  const incomplete = new Map(tensors);
  incomplete.delete(name);
  incomplete.set('more', initial);
  await t.throwsAsync(second.load(tensorsInMemory(incomplete)), {
    code: 'ERR_KW_CHECKPOINT',
    message: /^the weights do not fit resnet18: missing \(1\): 'layer1\.0\.conv1\.weight' \[64, 64, 3, 3\]; unexpected \(1\): "more"$/,
  });
  t.deepEqual(await digests(second), digestsBefore, 'nothing was written');
  const report = await second.load(tensorsInMemory(incomplete), { strict: false });
  t.deepEqual([report.missing.map((tensor) => tensor.name), report.unexpected], [[name], ['more']]);
  t.is(await value(second, name), before.get(name)?.data[0], 'what is missing keeps its values');
  t.is(await value(second, 'conv1.weight'), Number(tensors.get('conv1.weight')?.data[0]));

  await t.throwsAsync(second.load({ ...tensorsInMemory(incomplete), path: 'my.pth' }), {
    message: /^my\.pth: the weights do not fit resnet18: m/,
  });
  const foreign = new Map([...tensors].filter(([one]) => one.endsWith('.running_mean')));
  await t.throwsAsync(second.load(tensorsInMemory(foreign), { strict: false }), {
    code: 'ERR_KW_CHECKPOINT',
    message: /^the weights do not fit resnet18: they have none of its trained tensors; choose the network .*; missing \(\d+\): /,
  });

  const other = new Map(tensors).set('fc.weight', { type: 'F32', shape: [9, 512], data: new Float32Array(9 * 512) });
  await t.throwsAsync(second.load(tensorsInMemory(other), { strict: false }), { message: /wrong shape \(1\): 'fc\.weight' is \[9, 512\]/ });
  await second.load(tensorsInMemory(other), { replaced: ['fc.weight'] });
  t.is(await value(second, 'fc.weight'), Number(tensors.get('fc.weight')?.data[0]), 'kept from before, not the zeros of the file');
});

test('calls that mean nothing are refused with the nearest name', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using instance = new ModelInstance(new Model(options), device);
  const refused = (call: Promise<unknown>, message: RegExp) => t.throwsAsync(call, { code: 'ERR_KW_INVALID_ARGUMENT', message });
  const tensors: Map<string, StoredTensor> = new Map(await instance.save());
  const source = tensorsInMemory(tensors);
  await refused(
    instance.load(tensors as unknown as typeof source),
    /^load: expected a source of tensors, got an object of class Map; give /,
  );
  await refused(instance.load(source, { strickt: false } as object), /unknown option 'strickt'; did you mean 'strict'\?$/);
  await refused(
    instance.load(source, { replaced: ['fc.wait'] }),
    /^options of load: replaced: resnet18 has no tensor 'fc\.wait'; did you mean 'fc\.weight'\?$/,
  );
  await refused(instance.setControls({ temprature: 1 } as object), /^controls: unknown option 'temprature'; did you mean 'temperature'\?$/);
  await refused(instance.setControls({ temperature: NaN }), /^controls: expected temperature to be a finite number, got NaN$/);
  const images = new Float32Array(32 * 32 * 3);
  await refused(
    instance.stages(images, 1, 32, 32, undefined as unknown as number[]),
    /^expected a list of at least one stage, .* received nothing$/,
  );
  const size = /^expected positive whole numbers as batch, height and width but received /;
  await refused(instance.logits(new Float32Array(0), 0, 32), size);
  await refused(instance.logits(images.subarray(images.length / 2), 0.5, 32), size);
  await refused(instance.logits([...images] as unknown as Float32Array, 1, 32), /^expected images as a Float32Array but received a list$/);
});

test('half, bfloat16 and double become float32 on the device', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  using instance = new ModelInstance(new Model(options), device);
  const tensors: Map<string, StoredTensor> = new Map(await instance.save());
  tensors.set('bn1.weight', { type: 'F16', shape: [64], data: new Uint16Array(64).fill(0x3e00) });
  tensors.set('bn1.bias', { type: 'BF16', shape: [64], data: new Uint16Array(64).fill(0xc000) });
  tensors.set('bn1.running_mean', { type: 'F64', shape: [64], data: new Float64Array(64).fill(0.1) });
  await instance.load(tensorsInMemory(tensors));
  const saved = await instance.save();
  t.is(saved.get('bn1.weight')?.data[63], 1.5);
  t.is(saved.get('bn1.bias')?.data[0], -2);
  t.is(saved.get('bn1.running_mean')?.data[5], Math.fround(0.1));
});

test('the number of classes and the stem come from the shapes, for every configuration', (t) => {
  for (const name of officialConfigNames()) {
    const model = modelOptions(officialConfig(name));
    const { classes: _classes, ...open } = model;
    // The half-budget MobileNetV2 cuts its classifier into cells, which 10 classes would not fill.
    const source = shapesOf(new Model({ ...open, classes: 200 }));
    t.is(fitOptions(open, source).classes, 200, name);
    t.is(fitOptions({ ...open, classes: 7 }, source).classes, 7, 'what is asked for comes first');
    const replaced = classifierNames(fitOptions(open, source), 200, 100);
    t.true(replaced.length >= 1 && replaced.length <= 3, `${name}: ${replaced.join()}`);
    t.false(
      replaced.some((one) => one.includes('layer1') || one.includes('features.2.')),
      replaced.join(),
    );
  }
  for (const stem of ['small', 'large'] as const) {
    t.is(fitOptions({ network: 'kw_resnet18' }, shapesOf(new Model({ network: 'kw_resnet18', stem }))).stem, stem);
  }
  t.is(fitOptions({ network: 'resnet18' }, shapes([])).stem, 'large');
  t.is(fitOptions({ network: 'resnet18' }, shapes([])).classes, undefined);
  const deit = { network: 'deit_tiny', classes: 5, imageSize: 48 };
  t.deepEqual(fitOptions({ network: 'deit_tiny' }, shapesOf(new Model(deit))), { ...deit, stem: 'large' });
  t.is(fitOptions({ network: 'deit_tiny' }, shapesOf(new Model(deit), { pos_embed: [1, 12, 192] })).imageSize, undefined);
  const transposed = shapesOf(new Model({ network: 'resnet18', classes: 10 }), { 'fc.weight': [512, 10] });
  t.is(fitOptions({ network: 'resnet18' }, transposed).classes, 10, 'as the bias says');
});

test('the settings of a training script are a configuration', (t) => {
  const settings = {
    model: 'kw_resnet18',
    cell_num_ratio: 0.5,
    reduction: null,
    nb_classes: 1000,
    lr: 0.1,
    output_dir: '<pathlib.PosixPath>',
  };
  t.deepEqual(configOfSettings(JSON.stringify(settings), 'x'), { model: 'kw_resnet18', cell_num_ratio: 0.5 });
  for (const json of ['{}', '[]', 'null', '{"model": 3}', 'not JSON']) t.is(configOfSettings(json, 'x'), undefined, json);
  t.throws(() => configOfSettings('{"model":"resnet18","dropout":"much"}', 'file, args'), {
    code: 'ERR_KW_CONFIG',
    message: /^file, args: dropout: expected/,
  });
});

test('the path of a missing file stands for the official configuration of its name', (t) => {
  const { config, note } = selectModel('configs/resnet/kw1d2x_resnet18.json');
  t.deepEqual(config, officialConfig('kw1d2x_resnet18'));
  t.is(note, 'there is no file configs/resnet/kw1d2x_resnet18.json; using the official configuration kw1d2x_resnet18');
  t.is(selectModel('kw1d2x_resnet18').note, undefined);
  t.throws(() => selectModel('configs/mine.json'), { code: 'ERR_KW_CONFIG', message: /configs\/mine\.json: cannot read/ });
});

test.serial('a folder or file in the working directory does not hide a network; a path has a slash', (t) => {
  const before = process.cwd();
  const folder = mkdtempSync(join(tmpdir(), 'kernel-warehouse-select-'));
  process.chdir(folder);
  t.teardown(() => {
    process.chdir(before);
    rmSync(folder, { recursive: true });
  });
  mkdirSync('kw_resnet18');
  writeFileSync('kw1x_resnet18', '{}');
  writeFileSync('mine', '{"model": "resnet50"}');
  t.deepEqual(selectModel('kw_resnet18').model.network, 'kw_resnet18');
  t.deepEqual(selectModel('kw1x_resnet18').config, officialConfig('kw1x_resnet18'));
  t.is(selectModel('./mine').model.network, 'resnet50');
  t.throws(() => selectModel('mine'), { code: 'ERR_KW_UNKNOWN_NETWORK', message: /'mine'; for the file of this name give \.\/mine\./ });
});

test('options from a file are checked, and every configuration passes', (t) => {
  for (const name of officialConfigNames()) {
    const model = modelOptions(officialConfig(name));
    t.deepEqual(modelOptionsSchema.parse(JSON.parse(JSON.stringify(model))) as unknown, JSON.parse(JSON.stringify(model)), name);
  }
  for (const wrong of [
    {},
    { network: 3 },
    { network: 'a', classes: '3' },
    { network: 'a', other: 1 },
    { network: 'a', warehouse: { budget: 'x' } },
  ]) {
    t.false(modelOptionsSchema.safeParse(wrong).success, JSON.stringify(wrong));
  }
});
