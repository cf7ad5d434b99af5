/** The network of my_network.mjs as data. Importing this file registers it as my_described_network and kw_my_described_network. */
import { describedNetwork, registerNetwork, replaceConvolutions } from 'kernel-warehouse';

const convolutionNorm = (name, outChannels, stride = 1) => [
  { kind: 'conv2d', name: `${name}.conv`, outChannels, kernel: 3, stride, padding: 1 },
  { kind: 'batch_norm', name: `${name}.norm` },
];
const relu = { kind: 'relu' };
const block = (name, width) => ({
  kind: 'residual',
  layers: [...convolutionNorm(`${name}.0`, width), relu, ...convolutionNorm(`${name}.1`, width)],
});

/** Plain data: it could as well be a JSON file. */
const description = {
  layers: [
    ...convolutionNorm('stem', 32),
    relu,
    ...[block('stage0', 32), relu, { kind: 'stage' }],
    ...[...convolutionNorm('stage1.down', 64, 2), relu, block('stage1', 64), relu, { kind: 'stage' }],
    ...[...convolutionNorm('stage2.down', 128, 2), relu, block('stage2', 128), relu, { kind: 'stage' }],
    { kind: 'global_avg_pool' },
    { kind: 'linear', name: 'classifier', outFeatures: 'classes' },
  ],
};

// Every convolution but the first becomes dynamic; the first of a stage shares with the stage before.
registerNetwork('my_described_network', describedNetwork(replaceConvolutions(description)));
