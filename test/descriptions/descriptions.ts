/** Descriptions of the ResNets, written from the definition of the architecture. */
import type { LayerDescription, NetworkDescription } from '../../lib/descriptions/description.js';

function convolution(
  names: readonly [convolution: string, norm: string],
  outChannels: number,
  kernel: number,
  stride: number,
): LayerDescription[] {
  return [
    { kind: 'conv2d', name: names[0], outChannels, kernel, stride, padding: (kernel - 1) / 2 },
    { kind: 'batch_norm', name: names[1] },
  ];
}

/** ResNet with the stem for large images: basic blocks of two convolutions, or bottlenecks of three. */
export function residualDescription(blocks: readonly number[], bottleneck: boolean): NetworkDescription {
  const layers: NetworkDescription['layers'][number][] = [
    ...convolution(['conv1', 'bn1'], 64, 7, 2),
    { kind: 'relu' },
    { kind: 'max_pool2d', kernel: 3, stride: 2, padding: 1 },
  ];
  blocks.forEach((depth, stage) => {
    const planes = 64 * 2 ** stage;
    for (let block = 0; block < depth; block++) {
      const name = `layer${stage + 1}.${block}`;
      const stride = stage > 0 && block === 0 ? 2 : 1;
      const names = (index: number) => [`${name}.conv${index}`, `${name}.bn${index}`] as const;
      const branch: LayerDescription[] = bottleneck
        ? [
            ...convolution(names(1), planes, 1, 1),
            { kind: 'relu' },
            ...convolution(names(2), planes, 3, stride),
            { kind: 'relu' },
            ...convolution(names(3), 4 * planes, 1, 1),
          ]
        : [...convolution(names(1), planes, 3, stride), { kind: 'relu' }, ...convolution(names(2), planes, 3, 1)];
      const outChannels = bottleneck ? 4 * planes : planes;
      const changesShape = block === 0 && (stage > 0 || bottleneck);
      const shortcut = convolution([`${name}.downsample.0`, `${name}.downsample.1`], outChannels, 1, stride);
      layers.push({ kind: 'residual', name, layers: branch, ...(changesShape ? { shortcut } : {}) }, { kind: 'relu' });
    }
    layers.push({ kind: 'stage' });
  });
  layers.push({ kind: 'global_avg_pool' }, { kind: 'dropout' }, { kind: 'linear', name: 'fc', outFeatures: 'classes' });
  return { layers };
}
