/** How to draw a run of each activation; relu's samples stand with the others. */
import { type Draw, type DrawnTensor, floats, type Sample } from './draw.js';

function shape(draw: Draw): number[] {
  return [...Array.from({ length: draw.integer(0, 3) }, () => draw.integer(1, 4)), draw.channels()];
}

/** Values around 0, 3 and 6 in turn, none within 0.1 of a kink of relu6. */
function aroundLimits(draw: Draw, drawn: readonly number[]): DrawnTensor {
  const { values } = draw.awayFromZero(drawn);
  return floats(
    drawn,
    values.map((value, i) => Math.fround(3 * (i % 3) + value)),
  );
}

function relu6(draw: Draw): Sample {
  return { inputs: [aroundLimits(draw, shape(draw))], attributes: {}, differentiable: [0] };
}

function relu6Backward(draw: Draw): Sample {
  const drawn = shape(draw);
  const y = aroundLimits(draw, drawn).values.map((value) => Math.min(Math.max(value, 0), 6));
  return { inputs: [draw.tensor(drawn), floats(drawn, y)], attributes: {} };
}

/** Where gelu and sigmoid are curved, and where they are flat. */
function smooth(draw: Draw): Sample {
  return { inputs: [draw.tensor(shape(draw), -8, 8)], attributes: {}, differentiable: [0] };
}

function geluBackward(draw: Draw): Sample {
  const drawn = shape(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor(drawn, -8, 8)], attributes: {} };
}

function sigmoidBackward(draw: Draw): Sample {
  const drawn = shape(draw);
  return { inputs: [draw.tensor(drawn), draw.tensor(drawn, 0, 1)], attributes: {} };
}

export const activationSamples: Readonly<Record<string, (draw: Draw) => Sample>> = {
  relu6,
  relu6_backward: relu6Backward,
  gelu: smooth,
  gelu_backward: geluBackward,
  sigmoid: smooth,
  sigmoid_backward: sigmoidBackward,
};
