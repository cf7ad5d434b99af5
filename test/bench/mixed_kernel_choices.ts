/**
 * The kernels of every mixed layer of some networks, as the rule on paper chooses them: the table to which the backend's rule is held by
 * test/native/cuda/mixed_kernel_choice_test.cc. `node dist/test/bench/mixed_kernel_choices.js` writes it.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { findHardware, hardwareNames } from '../../lib/bench/bounds/hardware.js';
import { chooseMixedKernel } from '../../lib/bench/bounds/kernel_choice.js';
import { type Direction, type MixedShape, mixedConvolution } from '../../lib/bench/bounds/mixed_convolution.js';
import { networkPlan } from '../../lib/bench/contestant.js';
import { Model } from '../../lib/models/model.js';
import { selectModel } from '../../lib/models/select.js';
import { elementBytes } from '../../lib/plan/plan.js';

export const tableFile = fileURLToPath(new URL('../../../test/native/cuda/mixed_kernel_choices.json', import.meta.url));

const networks = ['kw1x_resnet18', 'kw4x_resnet18', 'kw1x_resnet50', 'kw1x_mobilenetv2_100'];
const batches = [1, 32, 256];
const types = ['bfloat16', 'float32'] as const;
const directions: readonly Direction[] = ['forward', 'input', 'mixing'];

/** Of all networks, each shape once. */
function layerShapes(): MixedShape[] {
  const shapes = new Map<string, MixedShape>();
  for (const name of networks) {
    const { model } = selectModel(name);
    const plan = networkPlan(new Model(model), { name, model, mode: 'inference', precision: 'float32', batch: 1, imageSize: 224 });
    for (const step of plan.steps) {
      const shape = mixedConvolution(plan, step)?.shape;
      if (shape) shapes.set(JSON.stringify(shape), shape);
    }
  }
  return [...shapes.values()];
}

function choiceWords(...choosing: Parameters<typeof chooseMixedKernel>): string {
  const { kernel, samplesAtOnce, fusedChannels } = chooseMixedKernel(...choosing);
  return `${kernel} ${kernel === 'fused' ? fusedChannels : samplesAtOnce}`;
}

/** JSON: the processors' figures, the batch sizes, and for each layer, processor, type and pass a choice for each batch size. */
export function choicesTable(): string {
  const gpus = hardwareNames.map(findHardware);
  const figures = gpus.map(({ name, multiprocessors, sharedKibibytesPerBlock, l2Mebibytes }) => [
    name,
    { multiprocessors, sharedKibibytesPerBlock, l2Mebibytes },
  ]);
  const layers = layerShapes().map((shape) => {
    const choices = gpus.map((gpu) => {
      const ofType = (type: (typeof types)[number]) =>
        directions.map((direction) => [
          direction,
          batches.map((samples) => choiceWords(shape, samples, direction, elementBytes[type], gpu)),
        ]);
      return [gpu.name, Object.fromEntries(types.map((type) => [type, Object.fromEntries(ofType(type))]))];
    });
    const rows = Object.entries({ shape, ...Object.fromEntries(choices) });
    return `{${rows.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',\n ')}}`;
  });
  const head = `"gpus":${JSON.stringify(Object.fromEntries(figures))},\n"batches":${JSON.stringify(batches)}`;
  return `{${head},\n"layers":[\n${layers.join(',\n')}\n]}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(tableFile, choicesTable());
