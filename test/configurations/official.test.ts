/** Every configuration that comes with the package is a network that can be trained, with the options that its file gives. */
import test from 'ava';
import { type NetworkConfig, officialConfig, officialConfigNames } from '../../lib/configurations/configuration.js';
import { imageSizeOption, Model, suitableStem } from '../../lib/models/model.js';
import { modelOptions } from '../../lib/models/select.js';
import { trainingPlan } from '../../lib/models/training_plan.js';
import type { Plan } from '../../lib/plan/plan.js';

const imageSize = 32;

function planOf(config: NetworkConfig): { readonly model: Model; readonly plan: Plan } {
  const options = modelOptions({ ...config, num_classes: 4 });
  const stem = suitableStem(options.network, imageSize);
  const model = new Model({ ...options, stem, ...imageSizeOption(options.network, imageSize) });
  const optimizer = { kind: 'sgd', momentum: 0.9, nesterov: true } as const;
  return { model, plan: trainingPlan(model, { batch: 2, imageSize, optimizer, labelSmoothing: 0 }) };
}

function steps(plan: Plan, op: string): Plan['steps'] {
  return plan.steps.filter((step) => step.op === op);
}

for (const name of officialConfigNames()) {
  test(`${name} can be trained`, (t) => {
    const config = officialConfig(name);
    const { model, plan } = planOf(config);
    if (!model.allocation) {
      // Networks of other methods mix kernels of their own; no op keeps a sample's weight.
      t.is(steps(plan, 'mixed_conv2d').length > 0, /conv\d+x_/.test(name));
      t.is(steps(plan, 'mix_cells').length, 0);
      return;
    }
    const layers = model.allocation.warehouses.flatMap((warehouse) => warehouse.layers);
    const attentions = steps(plan, 'attention_function');
    t.is(attentions.length, layers.length);
    t.is(steps(plan, 'attention_function_backward').length, layers.length);
    for (const { attributes } of attentions) {
      t.is(attributes.function, config.attention_function ?? 'contrasting');
      t.is((attributes.assignment as unknown[]).length === 0, config.attention_initialization === 'none');
    }
    const spatial = layers.filter(({ attention }) => (attention.odconv?.spatial ?? 0) > 0).length;
    t.is(steps(plan, 'sigmoid').length, config.odconv_attentions ? 2 * layers.length + spatial : 0);
  });
}

test("ODConv's attentions join networks of tokens and of LayerNorm too", (t) => {
  for (const model of ['kw_deit_tiny', 'kw_convnext_tiny']) {
    const { plan, model: built } = planOf({ model, odconv_attentions: true });
    const layers = built.allocation?.warehouses.flatMap((warehouse) => warehouse.layers) ?? [];
    t.true(steps(plan, 'sigmoid').length >= 2 * layers.length);
  }
});
