/**
 * Counts and trains the network of my_network.mjs, and looks into it: `node examples/own_network.mjs [FOLDER [STEPS]]` writes the
 * checkpoints to FOLDER (default: runs/own_network), and stops after STEPS training steps if that is given.
 */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as kw from 'kernel-warehouse';
import './my_network.mjs';
import './my_described_network.mjs';

const [folder = 'runs/own_network', lastStep = Number.POSITIVE_INFINITY] = process.argv.slice(2);
const options = {
  ...kw.defaultTrainingOptions,
  epochs: 3,
  batchSize: 16,
  imageSize: 8,
  cropRatio: 1,
  augmentation: 'shift',
  learningRate: 2e-3,
  weightDecay: 0.05,
  optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
};

// Counts: nothing runs yet.
for (const network of ['my_network', 'kw_my_network', 'kw_my_described_network']) {
  const model = new kw.Model({ network, classes: 10 });
  const plan = kw.trainingPlan(model, { ...options, batch: options.batchSize });
  const megabytes = (plan.buffers.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6).toFixed(1);
  console.log(`${network}: ${model.parameters.count} parameters, ${model.flops(8)} FLOPs for an image, ${megabytes} MB to train`);
  for (const { name, cell, m, n, layers } of model.allocation?.warehouses ?? []) {
    console.log(`  ${name}: ${m} mixtures of ${n} cells ${cell.join('x')} for ${layers.map((layer) => layer.name).join(', ')}`);
  }
}

// Training on handwritten digits of 8 x 8 pixels.
const data = await kw.readSplitFolder(fileURLToPath(new URL('../demo/digits', import.meta.url)));
mkdirSync(folder, { recursive: true });
const checkpointPath = `${folder}/checkpoint.safetensors`;
const device = kw.Device.open('cpu');
const stop = new AbortController();
let steps = 0;
const { history } = await kw.train({
  model: { network: 'kw_my_network', classes: data.train.classes.length },
  options,
  data,
  device,
  checkpointPath,
  bestPath: `${folder}/best.safetensors`,
  signal: stop.signal,
  onStep: () => ++steps >= Number(lastStep) && stop.abort(),
  onEpoch: ({ epoch, loss, validation }) =>
    console.log(`epoch ${epoch + 1}: loss ${loss.toFixed(3)}, ${validation.top1} of ${validation.count} validation images right`),
});
console.log(`${steps} steps, ${history.length} epochs done`);

// Feature maps at the ends of stages 1 and 2, with the trained weights.
const file = await kw.openCheckpoint(checkpointPath);
const { model, temperature } = kw.trainingCheckpoint(file);
const instance = new kw.ModelInstance(new kw.Model(model), device);
await instance.load(file);
await instance.setControls({ temperature });
await file.close();
for await (const { images, size } of new kw.ImageLoader(data.validation, kw.validationLoaderOptions(options)).batches(0)) {
  for (const { shape, data: values } of await instance.stages(images, size, 8, 8, [1, 2])) {
    console.log(`feature map [${shape.join(', ')}], mean ${(values.reduce((sum, value) => sum + value, 0) / values.length).toFixed(3)}`);
  }
  break;
}
instance.dispose();
device.dispose();
