/** Bounds on paper: against an independent study's totals, against arithmetic by hand, and the rule that chooses kernels. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { type BoundsReport, boundsReport } from '../../lib/bench/bounds/bounds_report.js';
import { findHardware, type Hardware } from '../../lib/bench/bounds/hardware.js';
import { chooseMixedKernel } from '../../lib/bench/bounds/kernel_choice.js';
import type { Direction, MixedShape } from '../../lib/bench/bounds/mixed_convolution.js';
import { type IdealForms, type StepBound, stepBounds } from '../../lib/bench/bounds/step_bounds.js';
import { boundsChart } from '../../lib/bench/chart.js';
import { type Mode, type NetworkCase, networkPlan } from '../../lib/bench/contestant.js';
import { Model } from '../../lib/models/model.js';
import { selectModel } from '../../lib/models/select.js';
import { choicesTable, tableFile } from './mixed_kernel_choices.js';

const h100 = findHardware('h100');

interface Setting {
  readonly mode?: Mode;
  readonly precision?: NetworkCase['precision'];
  readonly batch?: number;
  readonly tf32?: boolean;
  readonly hardware?: Hardware;
}

function caseOf(
  name: string,
  { mode = 'inference', precision = 'bfloat16', batch = mode === 'inference' ? 100 : 128 }: Setting = {},
): NetworkCase {
  return { name, model: selectModel(name).model, mode, precision, batch, imageSize: 224 };
}

function bounds(name: string, setting: Setting = {}): StepBound[] {
  const network = caseOf(name, setting);
  return stepBounds(networkPlan(new Model(network.model), network), { hardware: setting.hardware ?? h100, tf32: setting.tf32 ?? false });
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * Milliseconds of the convolutions alone, batch 100, bfloat16, computed before this package existed, from the layers' shapes in PyTorch: the
 * sum over layers of the longest of operations at 800 TFLOP/s, bytes of memory at 3.35 TB/s and of the L2 cache at 5.5 TB/s, each tensor once.
 * Its ResNets have 0.036 ms more in every column than the layers that it lists add up to.
 */
const study: readonly (readonly [network: string, memory: number, l2: number, cores: number])[] = [
  ['resnet18', 0.57, 0.57, 0.57],
  ['kw1d4x_resnet18', 1.732, 1.199, 0.669],
  ['kw1d2x_resnet18', 1.744, 1.207, 0.767],
  ['kw1x_resnet18', 1.745, 1.207, 0.666],
  ['kw2x_resnet18', 1.772, 1.223, 0.763],
  ['kw4x_resnet18', 1.825, 1.276, 0.955],
  ['resnet50', 1.942, 1.942, 1.942],
  ['kw1d2x_resnet50', 4.639, 3.599, 2.87],
  ['kw1x_resnet50', 4.646, 3.329, 2.411],
  ['kw4x_resnet50', 5.538, 4.456, 3.86],
  ['mobilenetv2_100', 0.818, 0.818, 0.818],
  ['kw1d2x_mobilenetv2_100', 1.16, 1.014, 0.835],
  ['kw1x_mobilenetv2_100', 1.098, 0.956, 0.846],
  ['kw4x_mobilenetv2_100', 1.104, 0.96, 0.852],
];

for (const [network, memory, l2, cores] of study) {
  test(`the convolutions of ${network} take what the study says`, (t) => {
    const steps = bounds(network).filter(({ op }) => op.includes('conv2d'));
    // A mixed classifier is float32 here, and was bfloat16 there.
    const total = (form: keyof IdealForms) =>
      sum(steps.map(({ label, idealMicroseconds }) => (label.startsWith('classifier') ? 0.5 : 1) * idealMicroseconds[form])) / 1000;
    const expected: IdealForms = { weightsInMemory: memory, weightsInL2: l2, weightsInCores: cores };
    for (const [form, figure] of Object.entries(expected)) {
      const value = total(form as keyof IdealForms);
      t.true(Math.abs(value - figure) < 0.04 + 0.01 * figure, `${form}: ${value.toFixed(3)}, study ${figure}`);
    }
  });
}

/** Training, batch 128: milliseconds that mixed weights in the L2 cache and in the cores add to the static network's step. */
const trainingStudy: readonly (readonly [network: string, other: string, l2: number, cores: number])[] = [
  ['kw1x_resnet18', 'resnet18', 6.51 - 3.5, 4.0 - 3.5],
  ['kw1x_resnet50', 'resnet50', 19.9 - 13.04, 15.54 - 13.04],
  ['kw1x_mobilenetv2_100', 'mobilenetv2_100', 7.34 - 6.68, 6.83 - 6.68],
];

for (const [network, other, l2, cores] of trainingStudy) {
  test(`training: mixing adds to the convolutions of ${network} what the study says`, (t) => {
    const total = (name: string, form: keyof IdealForms) => {
      const steps = bounds(name, { mode: 'training' }).filter(({ op }) => op.includes('conv2d'));
      return sum(steps.map(({ idealMicroseconds }) => idealMicroseconds[form])) / 1000;
    };
    for (const [form, figure] of [
      ['weightsInL2', l2],
      ['weightsInCores', cores],
    ] as const) {
      const added = total(network, form) - total(other, form);
      t.true(Math.abs(added - figure) < 0.03 + 0.03 * figure, `${form}: ${added.toFixed(3)}, study ${figure.toFixed(3)}`);
    }
  });
}

test('a batch of one takes the time of reading the cells: the study says 0.032, 0.197 and 0.73 ms for ResNet-50', (t) => {
  const total = (name: string) =>
    sum(
      bounds(name, { batch: 1 })
        .filter(({ op }) => op.includes('conv2d'))
        .map(({ boundMicroseconds }) => boundMicroseconds),
    );
  for (const [name, figure] of [
    ['resnet50', 32],
    ['kw1x_resnet50', 197],
    ['kw4x_resnet50', 730],
  ] as const) {
    t.true(Math.abs(total(name) - figure) < 0.05 * figure, `${name}: ${total(name)}`);
  }
});

test('a fused layer by hand: what is moved once, and what blocks of 8 samples and 32 channels read again', (t) => {
  const step = bounds('kw1x_resnet50').find(({ label, op }) => label === 'layer4.1.conv2' && op === 'normalized_mixed_conv2d');
  const [source, cells, attention, vectors, means] = [100 * 49 * 512 * 2, 47 * 512 * 512 * 2, 100 * 9 * 47 * 4, 4 * 512 * 4, 100 * 512 * 4];
  const once = 2 * source + cells + attention + vectors + means;
  t.is(step?.kernel, 'fused');
  t.is(step?.launches, 2); // attention in bfloat16 first
  t.is(step?.memoryBytes, once);
  // 13 groups of 8 samples read the cells, 512 / 32 groups of channels the source.
  const l2 = once + 12 * cells + 15 * source;
  t.is(step?.l2Bytes, l2);
  t.is(step?.boundBy, 'L2');
  t.true(Math.abs((step?.boundMicroseconds ?? 0) - l2 / 5.5e6) < 1e-9);
  const large = bounds('kw4x_resnet50').find(({ label, op }) => label === 'layer4.1.conv2' && op === 'normalized_mixed_conv2d');
  // Cells of 99 MB, four times as many, are read from memory four times: 32 x 13 blocks on 132 multiprocessors.
  t.is(large?.kernel, 'fused');
  t.is(large?.memoryBytes, 2 * source + 4 * 4 * cells + 4 * attention + vectors + means);
});

test('an assembled layer by hand: mixing and convolving, each bound by its own', (t) => {
  const step = bounds('kw1x_resnet18').find(({ label, op }) => label === 'layer1.0.conv1' && op === 'normalized_mixed_conv2d');
  const weights = 100 * 64 * 64 * 9 * 2;
  const [activations, vectors, means] = [2 * 100 * 56 * 56 * 64 * 2, 4 * 64 * 4, 100 * 64 * 4];
  t.is(step?.kernel, 'by samples');
  t.is(step?.launches, 4); // attention in bfloat16; all weights, which are 7 MB; the convolution and the sum of its tiles' means
  const mixed = (step?.memoryBytes ?? 0) - activations - vectors - means;
  t.true(mixed > 0 && mixed < 1e6, `${mixed}`); // cells and attention
  t.is(step?.l2Bytes, (step?.memoryBytes ?? 0) + 2 * weights);
  const convolving = (2 * 100 * 56 * 56 * 64 * 64 * 9 + 4 * 100 * 56 * 56 * 64) / 800e6;
  t.is(step?.boundBy, 'arithmetic');
  t.true(Math.abs((step?.boundMicroseconds ?? 0) - convolving - (mixed + weights) / 5.5e6) < 1e-9);
});

test('chunks by hand: cells that no cache has room for are read for each, and too large chunks pass through memory', (t) => {
  const steps = bounds('kw4x_resnet50', { mode: 'training', batch: 100 }).filter(({ label }) => label === 'layer4.1.conv2');
  const [input, mixing] = ['input', 'mixing'].map((pass) => steps.find(({ op }) => op === `mixed_conv2d_backward_${pass}`));
  const [cells, attention, weights] = [188 * 512 * 512 * 2, 100 * 9 * 188 * 4, 100 * 9 * 512 * 512 * 2];
  t.is(input?.kernel, 'in memory');
  t.is(input?.launches, 1 + 6 * 2); // of 17 samples, whose 8 tiles each keep 132 multiprocessors busy
  t.is(input?.memoryBytes, 2 * 100 * 49 * 512 * 2 + attention + 6 * cells + 2 * weights);
  t.is(input?.l2Bytes, input?.memoryBytes);
  t.is(mixing?.launches, 1 + 2 * 4);
});

const networks = [
  'kw1x_resnet18',
  'kw4x_resnet18',
  'kw1d2x_resnet50',
  'kw1x_resnet50',
  'kw4x_resnet50',
  'kw1x_mobilenetv2_100',
  'mobilenetv2_100',
];

for (const mode of ['inference', 'training'] as const) {
  test(`${mode}: no chosen kernel beats weights in the cores`, (t) => {
    const kernels = new Set<string>();
    for (const name of networks) {
      for (const { label, op, kernel, boundMicroseconds, idealMicroseconds } of bounds(name, { mode })) {
        kernels.add(kernel);
        t.true(boundMicroseconds >= idealMicroseconds.weightsInCores - 1e-9, `${name} ${label} ${op}`);
      }
    }
    t.deepEqual([...kernels].sort(), ['by samples', 'cuBLASLt', 'cuDNN', 'depth-wise', 'fused', 'in memory', 'pass']);
  });
}

test('the kernels of mixed layers are those of the table that the CUDA backend is held to', (t) => {
  t.is(readFileSync(tableFile, 'utf8'), choicesTable(), 'to write the table anew: node dist/test/bench/mixed_kernel_choices.js');
});

/** A layer of the last stage of ResNet-50: 512 channels, 3 x 3, 7 x 7. */
const late: MixedShape = {
  inChannels: 512,
  outChannels: 512,
  groups: 1,
  size: [7, 7],
  outSize: [7, 7],
  kernel: [3, 3],
  stride: [1, 1],
  dilation: [1, 1],
  cells: [47, 512, 1, 1, 512],
};

interface Choosing {
  readonly samples?: number;
  readonly direction?: Direction;
  readonly elementBytes?: number;
  readonly hardware?: Hardware;
}

function kernelOf(
  change: Partial<MixedShape>,
  { samples = 128, direction = 'forward', elementBytes = 2, hardware = h100 }: Choosing = {},
): string {
  const { kernel, samplesAtOnce, fusedChannels } = chooseMixedKernel({ ...late, ...change }, samples, direction, elementBytes, hardware);
  return `${kernel} ${kernel === 'fused' ? fusedChannels : samplesAtOnce}`;
}

test('few positions are fused where a block has room and there are enough of them, but only forward in bfloat16', (t) => {
  t.is(kernelOf({}), 'fused 32');
  t.is(kernelOf({}, { hardware: findHardware('a100') }), 'fused 16');
  t.is(kernelOf({ cells: [94, 16, 1, 1, 512] }), 'fused 16');
  for (const [change, choosing] of [
    [{}, { elementBytes: 4 }],
    [{}, { direction: 'input' }],
    [{}, { direction: 'mixing' }],
    [{}, { samples: 8 }],
    [{}, { hardware: { ...h100, sharedKibibytesPerBlock: 99 } }],
    [{ size: [8, 8], outSize: [8, 8] }, {}],
    [{ groups: 2 }, {}],
    [{ kernel: [2, 2] }, {}],
    [{ cells: [47, 512, 3, 3, 512] }, {}],
    [{ cells: [47, 24, 1, 1, 512] }, {}],
    [{ cells: [47, 512, 1, 1, 8] }, {}],
    [{ cells: [552, 512, 1, 1, 512] }, {}],
  ] as [Partial<MixedShape>, Choosing][]) {
    t.notRegex(kernelOf(change, choosing), /fused/, JSON.stringify([change, choosing]));
  }
});

test('chunks are as large as half of the L2 cache has room for twice, or as keeps the processor busy', (t) => {
  const middle = { inChannels: 256, outChannels: 256, size: [14, 14], outSize: [14, 14], cells: [47, 256, 1, 1, 256] };
  // 1.2 MB for a sample; 11 samples at once would leave a tenth chunk that is nearly empty.
  t.is(kernelOf(middle, { samples: 100 }), 'by samples 10');
  t.is(kernelOf(middle, { samples: 3 }), 'by samples 3');
  t.is(kernelOf(middle, { samples: 100, elementBytes: 4 }), 'in memory 9'); // 16 tiles for each sample
  const shortcut = { inChannels: 1024, outChannels: 2048, kernel: [1, 1], stride: [2, 2], size: [14, 14], cells: [138, 256, 1, 1, 256] };
  t.is(kernelOf(shortcut, { samples: 100 }), 'in memory 5'); // 32 tiles for each sample, whose weights are 4 MB
  t.is(kernelOf(shortcut, { samples: 100, direction: 'input' }), 'by samples 3');
});

test('the gradient has chunks that are worth reading and writing its sums for', (t) => {
  t.is(kernelOf({ cells: [12, 512, 1, 1, 512] }, { direction: 'mixing' }), 'by samples 2'); // sums of 25 MB
  t.is(kernelOf({}, { direction: 'mixing' }), 'in memory 13'); // of 99 MB; weights of 5 MB, three times
});

test('static steps are those of the libraries, and ours where these have nothing better', (t) => {
  const kernelsOf = (name: string, setting: Setting) => {
    const steps = bounds(name, setting);
    return (label: string, op: string) => steps.find((step) => step.label === label && step.op === op)?.kernel;
  };
  const inference = kernelsOf('resnet50', {});
  t.is(inference('layer1.0.conv1', 'normalized_conv2d'), 'cuDNN');
  t.is(bounds('resnet50').find(({ op }) => op === 'normalized_conv2d')?.launches, 2);
  for (const [setting, spatial] of [
    [{}, 'cuDNN'],
    [{ precision: 'float32' }, 'own'],
    [{ precision: 'float32', tf32: true }, 'cuDNN'],
  ] as [Setting, StepBound['kernel']][]) {
    const training = kernelsOf('resnet50', { mode: 'training', ...setting });
    for (const pass of ['', '_backward_input', '_backward_weight']) {
      t.is(training('layer1.0.conv1', `conv2d${pass}`), 'cuBLASLt', pass);
      t.is(training('layer1.0.conv2', `conv2d${pass}`), spatial, pass);
      t.is(training('layer2.0.downsample.0', `conv2d${pass}`), spatial, pass); // every second position
    }
  }
  t.is(kernelsOf('mobilenetv2_100', {})('features.2.conv.1.0', 'normalized_conv2d'), 'depth-wise');
});

test('float32 runs outside of tensor cores unless TF32 is allowed', (t) => {
  const total = (tf32: boolean) =>
    sum(bounds('resnet50', { precision: 'float32', tf32 }).map(({ boundMicroseconds }) => boundMicroseconds));
  t.true(total(false) > 820e9 / 60e6);
  const bfloat16 = sum(bounds('resnet50').map(({ boundMicroseconds }) => boundMicroseconds));
  t.true(total(true) > 1.9 * bfloat16 && total(true) < 2.1 * bfloat16);
});

test('every rate counts', (t) => {
  const total = (hardware: Hardware, tf32 = false) =>
    sum(
      ['bfloat16', 'float32'].flatMap((precision) =>
        bounds('kw1x_resnet50', { hardware, tf32, precision } as Setting).map((step) => step.boundMicroseconds),
      ),
    );
  for (const figure of [
    'bfloat16TeraflopsPerSecond',
    'float32TeraflopsPerSecond',
    'memoryTerabytesPerSecond',
    'l2TerabytesPerSecond',
  ] as const) {
    t.true(total({ ...h100, [figure]: 2 * h100[figure] }) < total(h100), figure);
  }
  t.true(total({ ...h100, tf32TeraflopsPerSecond: 800 }, true) < total(h100, true));
  t.true(total({ ...h100, l2Mebibytes: 5 }) > total(h100));
  t.true(total({ ...h100, sharedKibibytesPerBlock: 99 }) > total(h100));
  t.not(total({ ...h100, multiprocessors: 1320 }), total(h100));
});

function report(names: readonly string[], setting: Setting = {}): BoundsReport {
  const [other, ...others] = names.map((name) => ({ network: caseOf(name, setting) }));
  const cases = other ? [other, ...others.map(({ network }) => ({ network, against: other }))] : [];
  return boundsReport(cases, { hardware: h100, tf32: false, imageSize: 224, command: 'kernel-warehouse bench' });
}

test('totals are sums, and compare with the static network', (t) => {
  const { results } = report(['resnet18', 'kw1x_resnet18']);
  const [fixed, dynamic] = results as [BoundsReport['results'][0], BoundsReport['results'][0]];
  t.is(fixed.ratioToOther, undefined);
  for (const result of results) {
    const { steps, kernels, boundMilliseconds, boundMillisecondsBy, launches, launchMilliseconds } = result;
    t.true(Math.abs(sum(steps.map((step) => step.boundMicroseconds)) - 1000 * boundMilliseconds) < 1e-6);
    t.true(Math.abs(sum(kernels.map((figures) => figures.boundMicroseconds)) - 1000 * boundMilliseconds) < 1e-6);
    t.true(Math.abs(sum(kernels.map(({ share }) => share)) - 1) < 1e-9);
    t.true(Math.abs(sum(Object.values(boundMillisecondsBy)) - boundMilliseconds) < 1e-9);
    t.is(launches, sum(steps.map((step) => step.launches)));
    t.is(launchMilliseconds, launches / 1000);
    t.true(Math.abs(result.imagesPerSecond * boundMilliseconds - 100_000) < 1e-6);
    t.true(Math.abs(result.imagesPerSecondWithLaunches * (boundMilliseconds + launchMilliseconds) - 100_000) < 1e-6);
  }
  t.is(dynamic.ratioToOther?.network, 'resnet18');
  t.is(dynamic.ratioToOther?.ratio, fixed.boundMilliseconds / dynamic.boundMilliseconds);
  t.is(dynamic.ratioToOther?.idealRatios.weightsInL2, fixed.boundMilliseconds / dynamic.idealMilliseconds.weightsInL2);
  const drawing = boundsChart(report(['resnet18', 'kw1x_resnet18']));
  t.is(drawing.match(/<rect class="(base|compared)"/g)?.length, 2);
  t.notRegex(drawing, /class="spread" d|NaN/);
  t.regex(drawing, /bounds on paper for h100; 224 pixels; nothing was measured/);
});

test('a training step has its passes and the optimizer, bound by memory', (t) => {
  const [result] = report(['resnet18'], { mode: 'training' }).results;
  const of = (op: string) => result?.kernels.find((figures) => figures.op === op);
  t.is(of('batch_norm')?.launches, 60);
  t.is(of('conv2d_backward_weight')?.kernel, 'cuDNN');
  const sgd = result?.steps.find(({ op }) => op === 'sgd');
  t.is(sgd?.boundBy, 'memory');
  t.true((sgd?.memoryBytes ?? 0) >= 3 * 4 * 11.68e6);
});
