/** What networks cost by their plans, which static one belongs to each, and the memory that they take in a process of their own. */
import test from 'ava';
import {
  copyContestant,
  gemmContestant,
  leastBytes,
  type NetworkCase,
  networkContestant,
  networkPlan,
} from '../../lib/bench/contestant.js';
import { measureMemory } from '../../lib/bench/memory.js';
import { staticCounterpart } from '../../lib/bench/static_counterpart.js';
import { stepCosts } from '../../lib/bench/step_costs.js';
import { officialConfigNames } from '../../lib/configurations/configuration.js';
import { Model } from '../../lib/models/model.js';
import { networkNames } from '../../lib/models/registry.js';
import { selectModel } from '../../lib/models/select.js';
import { Device } from '../../lib/runtime/device.js';

const small: NetworkCase = {
  name: 'kw_resnet18',
  model: { network: 'kw_resnet18', stem: 'small', classes: 10 },
  mode: 'inference',
  precision: 'float32',
  batch: 2,
  imageSize: 16,
};

/** Quick to prepare. */
const tiny: NetworkCase = { ...small, name: 'kw_mobilenetv2_050', model: { network: 'kw_mobilenetv2_050', classes: 10 } };

function flopsOf(network: NetworkCase): number {
  return stepCosts(networkPlan(new Model(network.model), network)).reduce((sum, { flops }) => sum + flops, 0);
}

test('the steps of a plan cost what the graph says', (t) => {
  t.is(flopsOf(small), 2 * new Model(small.model).flops(16));
  const steps = stepCosts(networkPlan(new Model(small.model), small));
  t.true(steps.every(({ flops, bytes }) => Number.isFinite(flops) && bytes > 0));
  const stem = steps.find(({ label, op }) => label === 'conv1' && op === 'normalized_conv2d');
  t.deepEqual([stem?.flops, stem?.bytes], [2 * 16 * 16 * 64 * (2 * 27 + 3), 4 * (2 * 16 * 16 * 3 + 64 * 27 + 4 * 64 + 2 * 16 * 16 * 64)]);
  t.true(flopsOf({ ...small, mode: 'training' }) > 2.5 * flopsOf(small));
});

test('every network of a method has its static one; a static network has none', (t) => {
  const counterpart = (name: string) => staticCounterpart(selectModel(name).model)?.network;
  t.is(counterpart('kw_resnet18'), 'resnet18');
  t.is(counterpart('kw1d2x_resnet50'), 'resnet50');
  t.is(counterpart('kw1d2x_mobilenetv2_050'), 'mobilenetv2_050');
  t.is(counterpart('kwstar4x_mobilenetv2_100'), 'mobilenetv2_100');
  t.is(counterpart('kw3d4x_convnext_tiny_split'), 'convnext_tiny');
  t.is(counterpart('resnet18'), undefined);
  const isStatic = /^(resnet|mobilenetv2|convnext|deit)_?[a-z0-9]+$/;
  for (const name of [...networkNames(), ...officialConfigNames()]) t.is(counterpart(name) === undefined, isStatic.test(name), name);
});

test('the static network keeps the classes and everything else that is no warehouse', (t) => {
  t.deepEqual(staticCounterpart({ network: 'kw_resnet18', classes: 7, stem: 'small', warehouse: { budget: 4 } as never }), {
    network: 'resnet18',
    classes: 7,
    stem: 'small',
  });
});

test('contestants run, and know what they hold and how long their steps took', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  for (const mode of ['inference', 'training'] as const) {
    using network = await networkContestant(device, { ...tiny, mode });
    t.is(network.images, 2);
    t.true(network.bytes >= device.memory().bytes); // converted copies of parameters come on top
    await network.run();
    t.is(network.stepNanoseconds().length, network.steps.length);
    t.true(network.stepNanoseconds().some((nanoseconds) => nanoseconds > 0));
    t.true(network.bytes >= leastBytes({ ...tiny, mode }));
  }
  t.deepEqual(device.memory().buffers, 0);
  using gemm = await gemmContestant(device, 'float32');
  await gemm.run();
  t.is(
    gemm.steps.reduce((sum, { flops }) => sum + flops, 0),
    2 * 2048 ** 3,
  );
  using copy = await copyContestant(device);
  await copy.run();
  t.is(
    copy.steps.reduce((sum, { bytes }) => sum + bytes, 0),
    2 * 2 ** 28,
  );
});

test('a network that cannot be prepared leaves nothing behind', async (t) => {
  using device = Device.open('cpu', { threads: 1 });
  await t.throwsAsync(networkContestant(device, { ...tiny, batch: 2 ** 22, imageSize: 224 }), { code: 'ERR_KW_OUT_OF_MEMORY' });
  t.deepEqual(device.memory(), { buffers: 0, bytes: 0, programs: 0, used: 0, total: 0 });
});

test('a process of its own tells how much a network takes', async (t) => {
  const network: NetworkCase = { ...small, name: 'resnet18', model: { network: 'resnet18' }, batch: 16, imageSize: 64 };
  const question = { network, device: 'cpu', options: { threads: 1 } } as const;
  const { planned, measured } = await measureMemory(question);
  t.true(planned >= leastBytes(network));
  // What the process itself needs more is some tens of MB.
  t.true(measured > 0.8 * planned && measured < 1.2 * planned + 50e6, `${planned} ${measured}`);
});

test('what keeps that process from measuring is told', async (t) => {
  const of = (network: Partial<NetworkCase>) => measureMemory({ network: { ...tiny, ...network }, device: 'cpu', options: { threads: 1 } });
  await t.throwsAsync(of({ batch: 2 ** 22, imageSize: 224 }), {
    code: 'ERR_KW_OUT_OF_MEMORY',
    message: /kw_mobilenetv2_050, batch 4194304: .*Cannot allocate/s,
  });
  await t.throwsAsync(of({ model: { network: 'resnet99' } }), {
    code: 'ERR_KW_INTERNAL',
    message: /ended with exit status 1: .*resnet99/s,
  });
  const controller = new AbortController();
  const stopped = measureMemory(
    { network: { ...tiny, batch: 256, imageSize: 64 }, device: 'cpu', options: { threads: 1 } },
    controller.signal,
  );
  controller.abort(new Error('stopped'));
  await t.throwsAsync(stopped, { message: 'stopped' });
});
