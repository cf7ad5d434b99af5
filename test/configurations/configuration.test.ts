import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import {
  allocationOptions,
  type NetworkConfig,
  officialConfig,
  officialConfigNames,
  parseConfig,
  readConfig,
} from '../../lib/configurations/configuration.js';
import { recipeFields } from '../../lib/configurations/recipe_fields.js';

test('all configurations are read, and named after budget, network and variant', (t) => {
  t.is(officialConfigNames().length, 54);
  for (const name of officialConfigNames()) {
    const { model } = officialConfig(name);
    // kw1d2x_resnet18.json holds kw_resnet18, kw1x_resnet18_softmax.json a variant of it.
    const network = model.replace(/^(kw(1d2x)?|dyconv|odconv|condconv)_/, '');
    t.true(name.replace(/^(kw(star)?|dyconv|odconv|condconv)\d(d\d)?x_(contrasting_)?/, '').startsWith(network), `${name}: ${model}`);
    const method = (of: string) => /^(kw|dyconv|odconv|condconv)/.exec(of)?.[0];
    t.is(method(name), method(model));
  }
});

test('a configuration gives the options of its warehouses', (t) => {
  t.deepEqual(allocationOptions(officialConfig('kw1d2x_resnet50')), {
    reduction: 0.0625,
    budget: 0.5,
    cellInRatio: 0.5,
    cellOutRatio: 0.5,
    nonlocalBasisRatio: 0.0625,
    sharingRange: 'layer_conv',
  });
  t.deepEqual(allocationOptions(officialConfig('kw1x_mobilenetv2_100')), {
    budget: 1,
    cellInRatio: 1,
    cellOutRatio: 1,
    sharingRange: ['layer', 'pwconv'],
  });
  t.deepEqual(allocationOptions(officialConfig('resnet18')), {});
  t.deepEqual(allocationOptions(parseConfig({ model: 'kw_resnet18', cell_num_ratio: [1, 2, 2, 0.5], spatial_partition: false })), {
    budget: [1, 2, 2, 0.5],
    spatialPartition: false,
  });
  const ablation = {
    same_dimensions: true,
    cell_sharing: false,
    attention_function: 'rectified',
    attention_initialization: ['none', 'allToOne'],
    odconv_attentions: true,
    odconv_temperature: 30,
  };
  t.deepEqual(allocationOptions(parseConfig({ model: 'kw_resnet18', ...ablation })), {
    sameDimensions: true,
    cellSharing: false,
    attentionFunction: 'rectified',
    attentionInitialization: ['none', 'allToOne'],
    odconvAttentions: true,
    odconvTemperature: 30,
  });
});

test('unknown names of attention functions and initializations are listed with the known ones', (t) => {
  const error = t.throws(() =>
    parseConfig({ model: 'kw_resnet18', attention_function: 'relu', attention_initialization: 'one_to_one', cell_sharing: 1 }),
  );
  t.regex(error.message, /attention_function: .*"contrasting"\|"softmax"\|"sigmoid"\|"rectified", got "relu"/);
  t.regex(
    error.message,
    /attention_initialization: expected oneToOne, allToOne, none, severalToOne, oneToSeveral, or a list of them, got "one_to_one"/,
  );
  t.regex(error.message, /cell_sharing: expected boolean, got 1/);
});

test('num_classes may be called nb_classes', (t) => {
  t.is(parseConfig({ model: 'resnet18', nb_classes: 10 }).num_classes, 10);
  t.throws(() => parseConfig({ model: 'resnet18', nb_classes: 10, num_classes: 10 }), {
    code: 'ERR_KW_CONFIG',
    message: /are the same; give one/,
  });
});

test('every problem of a configuration is listed', (t) => {
  const error = t.throws(
    () => parseConfig({ cell_num_ration: 1, zebra: 2, dropout: 2, cell_inplane_ratio: 'half', reduction: [], sharing_range: 3 }, 'my.json'),
    { code: 'ERR_KW_CONFIG' },
  );
  for (const part of [
    /^my\.json: /,
    /unknown field cell_num_ration, did you mean cell_num_ratio\?/,
    /unknown field zebra(;|$)/,
    /model: expected string, got nothing/,
    /dropout: expected number to be <=1, got 2/,
    /cell_inplane_ratio: expected a positive number, or a list of them, got "half"/,
    /reduction: expected at least one value, got \[\]/,
    /sharing_range: expected prefixes, as a string or a list, got 3/,
  ]) {
    t.regex(error.message, part);
  }
});

test('what is no configuration is refused', (t) => {
  for (const value of [null, 3, 'kw_resnet18', [], undefined])
    t.throws(() => parseConfig(value), { code: 'ERR_KW_CONFIG', message: /expected a JSON object/ });
  t.throws(() => parseConfig(JSON.parse('{"model": "resnet18", "__proto__": 1}')), { message: /unknown field __proto__/ });
});

test('files that cannot be read say why', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'kernel-warehouse-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'broken.json');
  writeFileSync(path, '{"model": ');
  t.throws(() => readConfig(path), { code: 'ERR_KW_CONFIG', message: /broken\.json: not a JSON file/ });
  t.throws(() => readConfig(join(folder, 'absent.json')), { code: 'ERR_KW_CONFIG', message: /absent\.json: cannot read/ });
  writeFileSync(path, '{"model": "kw_resnet18", "temp_epoch": 10}');
  t.is(readConfig(path).temp_epoch, 10);
});

test('an unknown name gets a suggestion', (t) => {
  t.throws(() => officialConfig('kw1x_resnet81'), { code: 'ERR_KW_UNKNOWN_NETWORK', message: /did you mean kw1x_resnet18\?/ });
  t.throws(() => officialConfig('alexnet'), { code: 'ERR_KW_UNKNOWN_NETWORK', message: /known are condconv8x_resnet18, convnext_tiny, / });
});

test('fields of training recipes are refused together, unless they say what training does anyway', (t) => {
  const recipe = { mixup: 0.8, cutmix: 0, model_ema: true, model_ema_decay: 0.9999, clip_grad: 5, aa: null, temp_init_value: 0.5 };
  t.throws(() => parseConfig({ model: 'kw_resnet18', zebra: 1, ...recipe }, 'my.json'), {
    code: 'ERR_KW_CONFIG',
    message:
      'my.json: unknown field zebra; this version has no training recipes yet, so nothing reads clip_grad 5, temp_init_value 0.5, ' +
      'model_ema true, model_ema_decay 0.9999, mixup 0.8; remove these fields',
  });
  t.throws(() => parseConfig({ model: 'kw_resnet18', cutmix_minmax: [0.2, 0.8], mixup_mode: 'pair' }), {
    message: /nothing reads cutmix_minmax \[0\.2,0\.8\], mixup_mode "pair"; remove these fields$/,
  });
  const anyway = {
    ...{ update_freq: 1, clip_grad: null, warmup_steps: -1, weight_decay_end: null, temp_init_value: 1, use_amp: false },
    ...{ model_ema: false, model_ema_decay: 0.99, model_ema_eval: true, traditional_preprocess: true, color_jitter: 0, aa: null },
    ...{ train_interpolation: 'bicubic', reprob: 0, remode: 'pixel', recount: 2, mixup: 0, cutmix: 0, cutmix_minmax: null },
    ...{ mixup_prob: 1, mixup_switch_prob: 0.5, mixup_mode: 'batch' },
  };
  t.deepEqual(parseConfig({ model: 'kw_resnet18', ...anyway }), { model: 'kw_resnet18', ...anyway } as NetworkConfig);
  t.deepEqual(Object.keys(anyway).sort(), Object.keys(recipeFields).sort());
});
