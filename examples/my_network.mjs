/** Your own network as a function. Importing this file registers it as my_network, and its dynamic variant as kw_my_network. */
import { batchNormLayer, convolutionSpec, linearLayer, ops, registerNetwork, sharingName, staticConvolution } from 'kernel-warehouse';

const widths = [32, 64, 128];

/** A 3x3 convolution of one kind or another, and its BatchNorm. */
function convolutionNorm(context, x, convolution, name, shape) {
  const spec = convolutionSpec({ name: `${name}.conv`, inChannels: x.shape.at(-1), kernel: 3, padding: 1, ...shape });
  return batchNormLayer(context, convolution(context, x, spec), `${name}.norm`);
}

/** Images [N, H, W, 3] to logits [N, classes]: three stages, each with one residual block, at full, half and a quarter of the size. */
function build(context, x, convolution, options) {
  let y = ops.relu(convolutionNorm(context, x, staticConvolution, 'stem', { outChannels: widths[0] }));
  const stages = [];
  widths.forEach((outChannels, stage) => {
    if (stage > 0) {
      // It reads the channels of the stage before, so it shares with that one: common divisors stay large.
      const halved = { outChannels, stride: 2, sharingName: sharingName(stage - 1, 1, 'conv0') };
      y = ops.relu(convolutionNorm(context, y, convolution, `stage${stage}.down`, halved));
    }
    const shape = (index) => ({ outChannels, sharingName: sharingName(stage, 0, `conv${index}`) });
    const hidden = ops.relu(convolutionNorm(context, y, convolution, `stage${stage}.0`, shape(0)));
    y = ops.relu(ops.add(y, convolutionNorm(context, hidden, convolution, `stage${stage}.1`, shape(1))));
    stages.push(y);
  });
  return { logits: linearLayer(context, ops.globalAvgPool(y), 'classifier', options.classes), stages };
}

// Layers whose sharing names are equal up to the numbers after these words share a warehouse.
registerNetwork('my_network', { build, warehouse: { sharingRange: ['layer', 'conv'] } });
