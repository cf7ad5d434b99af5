/** The dynamic layers of the networks in test/golden/allocation.json, in traversal order, written from their definitions. */
import type { AllocationOptions, LayerShape } from '../../lib/warehouse/index.js';
import { invertedResidualStages, residualSharingName, sharingName, stagePart } from '../../lib/warehouse/index.js';

export function residualLayers(blocks: readonly number[], bottleneck: boolean): LayerShape[] {
  const layers: LayerShape[] = [];
  const expansion = bottleneck ? 4 : 1;
  let channels = 64;
  blocks.forEach((depth, stage) => {
    const width = 64 * 2 ** stage;
    for (let block = 0; block < depth; block++) {
      const position = layers.length;
      const sizes = bottleneck
        ? [
            [channels, width, 1],
            [width, width, 3],
            [width, width * 4, 1],
          ]
        : [
            [channels, width, 3],
            [width, width, 3],
          ];
      const add = (name: string, convolution: number | 'shortcut', [inChannels, outChannels, kernel]: readonly number[]) => {
        const sharing = residualSharingName({ stage, block, convolution }, blocks, bottleneck);
        if (sharing === undefined) return;
        layers.push({
          name: `layer${stage + 1}.${block}.${name}`,
          kind: 'conv2d',
          inChannels: inChannels as number,
          outChannels: outChannels as number,
          kernel: [kernel as number, kernel as number],
          sharingName: sharing,
          ...(convolution === 'shortcut' ? { reserved: position - 0.5 } : {}),
        });
      };
      for (const [convolution, size] of sizes.entries()) add(`conv${convolution + 1}`, convolution, size);
      if (block === 0 && channels !== width * expansion) add('downsample.0', 'shortcut', [channels, width * expansion, 1]);
      channels = width * expansion;
    }
  });
  return layers;
}

function divisibleBy8(channels: number): number {
  const rounded = Math.max(8, Math.floor((channels + 4) / 8) * 8);
  return rounded < 0.9 * channels ? rounded + 8 : rounded;
}

/** `half` is the 1/2x variant: only the point-wise convolutions of stage 6 and the head are dynamic, but also the classifier. */
export function mobileNetLayers(width: number, half = false): LayerShape[] {
  const rows = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 3],
    [6, 64, 4, 4],
    [6, 96, 3, 5],
    [6, 160, 3, 6],
    [6, 320, 1, 6],
  ] as const;
  const positions = invertedResidualStages(rows.map(([, , blocks, stage]) => ({ blocks, stage })));
  let channels = divisibleBy8(32 * width);
  const convolution = (
    name: string,
    inChannels: number,
    outChannels: number,
    sharing: string,
    depthwise = false,
    kernel = 1,
  ): LayerShape => ({
    name,
    kind: 'conv2d',
    inChannels,
    outChannels,
    kernel: [kernel, kernel],
    groups: depthwise ? inChannels : 1,
    sharingName: sharing,
  });
  const layers = [convolution('features.0.0', 3, channels, 'stage0_conv0', false, 3)];
  let index = 1;
  for (const [expansion, rowWidth, blocks] of rows) {
    const outChannels = divisibleBy8(rowWidth * width);
    for (let block = 0; block < blocks; block++) {
      const { stage, layer } = positions[index - 1] as { stage: number; layer: number };
      const hidden = channels * expansion;
      const pointwise = !half || stage === 6;
      const module = `features.${index}.conv`;
      if (expansion > 1 && pointwise) layers.push(convolution(`${module}.0.0`, channels, hidden, sharingName(stage, layer, 'pwconv0')));
      const expanded = expansion > 1 ? 1 : 0;
      layers.push(convolution(`${module}.${expanded}.0`, hidden, hidden, sharingName(stage, layer, 'dwconv0'), true, 3));
      if (pointwise) layers.push(convolution(`${module}.${expanded + 1}`, hidden, outChannels, sharingName(stage, layer, 'pwconv1')));
      channels = outChannels;
      index++;
    }
  }
  const head = positions[index - 1] as { stage: number; layer: number };
  const features = divisibleBy8(1280 * Math.max(1, width));
  layers.push(convolution(`features.${index}.0`, channels, features, sharingName(head.stage, head.layer, 'pwconv1')));
  if (half) {
    layers.push({ name: 'classifier.1', kind: 'linear', inChannels: features, outChannels: 1000, bias: true, sharingName: 'classifier' });
  }
  return layers;
}

/** `split` gives the third stage three warehouses of each kind. */
export function convNextLayers(split: boolean): LayerShape[] {
  const widths = [96, 192, 384, 768];
  const depths = [3, 3, 9, 3];
  const convolution = (name: string, inChannels: number, outChannels: number, kernel: number, sharing: string, groups = 1): LayerShape => ({
    name,
    kind: 'conv2d',
    inChannels,
    outChannels,
    kernel: [kernel, kernel],
    groups,
    bias: true,
    sharingName: sharing,
  });
  const downsamplers = widths.map((width, stage) => {
    const before = widths[stage - 1];
    if (before === undefined) return convolution('downsample_layers.0.0', 3, width, 4, 'stagestem_conv0');
    return convolution(`downsample_layers.${stage}.1`, before, width, 2, sharingName(stage - 1, 'ds', 'conv0'));
  });
  const blocks = widths.flatMap((width, stage) =>
    Array.from({ length: depths[stage] as number }, (_, block) => {
      const part = split && stage === 2 ? stagePart(stage, block, 3) : stage;
      const module = `stages.${stage}.${block}`;
      return [
        convolution(`${module}.dwconv`, width, width, 7, sharingName(part, block, 'dwconv0'), width),
        convolution(`${module}.pwconv1`, width, width * 4, 1, sharingName(part, block, 'pwconv1')),
        convolution(`${module}.pwconv2`, width * 4, width, 1, sharingName(part, block, 'pwconv2')),
      ];
    }).flat(),
  );
  return [...downsamplers, ...blocks];
}

/** Twelve blocks in four groups; value, projection and both layers of the perceptron are dynamic. */
export function deitLayers(width: number): LayerShape[] {
  return Array.from({ length: 12 }, (_, block) => {
    const linear = (name: string, inChannels: number, outChannels: number, index: number): LayerShape => ({
      name: `blocks.${block}.${name}`,
      kind: 'linear',
      inChannels,
      outChannels,
      bias: true,
      sharingName: `group${Math.floor(block / 3)}_layer${block % 3}_linear${index}`,
    });
    return [
      linear('attn.v', width, width, 0),
      linear('attn.proj', width, width, 1),
      linear('mlp.fc1', width, width * 4, 0),
      linear('mlp.fc2', width * 4, width, 1),
    ];
  }).flat();
}

/** The authors give these numbers in the 1/2x network's code, not in its file. */
export const halfMobileNetOptions: AllocationOptions = {
  reduction: 1 / 32,
  budget: [1, 1, 1, 1, 1, 1, 0.5, 1, 0.5, 0.5],
  cellInRatio: [1, 1, 1, 1, 1, 1, 0.5, 1, 0.5, 0.025],
  cellOutRatio: [1, 1, 1, 1, 1, 1, 0.5, 1, 0.5, 1],
  sharingRange: 'layer',
};
