/**
 * Trains KW ResNet-18 on the digits as the demo does, with several seeds in float32 and in bfloat16, and prints the spread of both:
 * `node examples/precision_study.mjs [FILE [SEEDS]]`. FILE (by default runs/precision_study.json) keeps what is done; a run that was stopped goes on.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as kw from 'kernel-warehouse';

const [file = 'runs/precision_study.json', seeds = 5] = process.argv.slice(2);
const epochs = 4;
const options = {
  ...kw.defaultTrainingOptions,
  epochs,
  batchSize: 16,
  imageSize: 8,
  cropRatio: 1,
  mean: [0.5, 0.5, 0.5],
  standardDeviation: [0.5, 0.5, 0.5],
  augmentation: 'shift',
  optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
  learningRate: 1e-3,
  warmupEpochs: 0.5,
  weightDecay: 0.05,
  labelSmoothing: 0.1,
  temperatureEpochs: 20,
};

const study = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { processor: cpus()[0].model, runs: [] };
mkdirSync(dirname(file), { recursive: true });
const data = await kw.readSplitFolder(fileURLToPath(new URL('../demo/digits', import.meta.url)));
// One thread: results depend on the number of threads, and so are the same on every machine of the same instruction set.
const device = kw.Device.open('cpu', { threads: 1 });
for (let seed = 1; seed <= Number(seeds); seed++) {
  for (const precision of ['float32', 'bfloat16']) {
    if (study.runs.some((run) => run.seed === seed && run.precision === precision)) continue;
    const folder = join(tmpdir(), `kw-precision-study-${process.pid}`);
    mkdirSync(folder, { recursive: true });
    const { history } = await kw.train({
      model: { network: 'kw_resnet18', classes: data.train.classes.length, stem: 'small' },
      options: { ...options, seed, precision },
      data,
      device,
      checkpointPath: join(folder, 'checkpoint.safetensors'),
      bestPath: join(folder, 'best.safetensors'),
    });
    const { loss, validation } = history.at(-1);
    const run = {
      seed,
      precision,
      loss,
      top1: validation.top1 / validation.count,
      seconds: Math.round((performance.now() - start) / 1000),
    };
    study.runs.push(run);
    writeFileSync(file, `${JSON.stringify(study, null, 1)}\n`);
    console.log(`seed ${seed}, ${precision}: loss ${loss.toFixed(4)}, validation top-1 ${(100 * run.top1).toFixed(1)} %`);
  }
}
device.dispose();

/** Mean and sample standard deviation. */
function spread(values) {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length - 1);
  return [mean, Math.sqrt(variance)];
}

console.log(`\n| precision | seeds | training loss | validation top-1 | lowest to highest |\n|---|---|---|---|---|`);
for (const precision of ['float32', 'bfloat16']) {
  const runs = study.runs.filter((run) => run.precision === precision);
  const [loss, lossDeviation] = spread(runs.map((run) => run.loss));
  const accuracies = runs.map((run) => 100 * run.top1);
  const [top1, top1Deviation] = spread(accuracies);
  const range = `${Math.min(...accuracies).toFixed(1)} to ${Math.max(...accuracies).toFixed(1)} %`;
  const figures = [`${loss.toFixed(3)} ± ${lossDeviation.toFixed(3)}`, `${top1.toFixed(2)} ± ${top1Deviation.toFixed(2)} %`, range];
  console.log(`| ${precision} | ${runs.length} | ${figures.join(' | ')} |`);
}
