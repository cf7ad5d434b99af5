/** Networks of one's own in the registry, and what a model says of those that do not keep their promises. */
import test from 'ava';
import { Graph } from '../../lib/graph/graph.js';
import { globalAvgPool } from '../../lib/graph/ops/global_avg_pool.js';
import { linearLayer } from '../../lib/layers/convolution.js';
import { convolutionSpec } from '../../lib/layers/layer.js';
import { Model } from '../../lib/models/model.js';
import { networkNames, registerNetwork } from '../../lib/models/registry.js';
import { selectModel } from '../../lib/models/select.js';
import type { Network } from '../../lib/networks/network.js';

const own: Network = {
  build(context, x, convolution, { classes }) {
    const y = convolution(context, x, convolutionSpec({ name: 'conv', inChannels: 3, outChannels: 4, sharingName: 'stage0_conv0' }));
    return { logits: linearLayer(context, globalAvgPool(y), 'fc', classes) };
  },
};

test('a registered network and its KernelWarehouse variant are known by name', (t) => {
  registerNetwork('own-net.1', own);
  t.true(networkNames().includes('own-net.1'));
  t.is(new Model({ network: 'own-net.1', classes: 2 }).parameters.count, 3 * 4 + 2 * 4 + 2);
  t.is(new Model({ network: 'kw_own-net.1', classes: 2 }).allocation?.warehouses[0]?.m, 1);
  t.deepEqual(selectModel('kw_own-net.1').model, { network: 'kw_own-net.1', warehouse: {} });
});

test('names that are taken or would mislead are refused', (t) => {
  const refused = (name: string, message: RegExp) =>
    t.throws(() => registerNetwork(name, own), { code: 'ERR_KW_INVALID_ARGUMENT', message });
  refused('resnet18', /^network name 'resnet18': a network of this name is registered already$/);
  refused('convnext_tiny_split', /registered already/);
  refused('kw_mine', /^network name 'kw_mine': kw_ is the prefix of KernelWarehouse variants, .*; give 'mine'$/);
  refused('my network', /^network name 'my network': expected letters, digits, _, - and \.$/);
  refused('', /expected letters/);
  refused('kw1x_resnet18', /^network name 'kw1x_resnet18': a configuration that comes with the package has this name; choose another$/);
  t.false(networkNames().includes('kw1x_resnet18'));
});

test('what is no network is refused when it is registered', (t) => {
  const refused = (network: unknown, message: RegExp) =>
    t.throws(() => registerNetwork('no-network', network as Network), { code: 'ERR_KW_INVALID_ARGUMENT', message });
  refused(undefined, /^network 'no-network': expected an object with a function build, got nothing$/);
  refused({ layers: [] }, /a description is not a network yet; give describedNetwork\(description\)$/);
  refused({}, /expected a function build, got nothing$/);
  refused({ ...own, warehose: {} }, /unknown option 'warehose'; did you mean 'warehouse'\?$/);
  refused({ ...own, warehouse: { budgets: 1 } }, /warehouse: unknown option 'budgets'; did you mean 'budget'\?$/);
  t.false(networkNames().includes('no-network'));
});

test('an unknown name gets a suggestion and is told how networks of ones own become known', (t) => {
  const message = /^no network (or configuration )?'resnet81'; did you mean 'resnet18'\? A network of your own has to be registered/;
  t.throws(() => new Model({ network: 'resnet81' }), { code: 'ERR_KW_UNKNOWN_NETWORK', message });
  t.throws(() => selectModel('resnet81'), { code: 'ERR_KW_UNKNOWN_NETWORK', message });
  const all = { code: 'ERR_KW_UNKNOWN_NETWORK', message: /'xyz'; known are resnet18, .*\. A network of your own/ } as const;
  t.throws(() => new Model({ network: 'xyz' }), all);
  t.throws(() => selectModel('xyz'), all);
});

test('a build function that returns no logits for the classes is named', (t) => {
  registerNetwork('headless', { build: (_context, x) => ({ logits: globalAvgPool(x) }) });
  t.throws(() => new Model({ network: 'headless', classes: 10 }), {
    code: 'ERR_KW_SHAPE',
    message: "'headless': expected logits of shape [N, classes] = [1, 10], but its build function returned [1, 3]",
  });
  registerNetwork('forgetful', { build: () => undefined } as unknown as Network);
  t.throws(() => new Model({ network: 'forgetful', classes: 10 }), {
    code: 'ERR_KW_SHAPE',
    message: /but its build function returned nothing without logits; return \{ logits \}$/,
  });
});

test('options that a model does not have are named with the nearest', (t) => {
  const refused = (options: object, message: RegExp) =>
    t.throws(() => new Model({ network: 'kw_resnet18', ...options }), { code: 'ERR_KW_CONFIG', message });
  refused({ network: undefined }, /^options of Model: expected network to be a name, got nothing$/);
  refused({ clases: 5 }, /^options of Model: unknown option 'clases'; did you mean 'classes'\?$/);
  refused({ warehouse: { budgets: 1 } }, /^warehouse options of Model: unknown option 'budgets'; did you mean 'budget'\?$/);
});

test('stages that a network does not have are refused', (t) => {
  registerNetwork('without_stages', own);
  const model = new Model({ network: 'without_stages', classes: 2 });
  const graph = new Graph();
  t.throws(() => model.forwardStages(graph, graph.input('images', [1, 8, 8, 3]), false, [0]), {
    code: 'ERR_KW_INVALID_ARGUMENT',
    message: "'without_stages' has no stages, not stage 0",
  });
});
