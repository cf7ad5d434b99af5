/** The dynamic layers of ResNets in traversal order, written from their definition, to test warehouses without models. */
import { type LayerShape, residualSharingName } from '../../lib/warehouse/index.js';

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
