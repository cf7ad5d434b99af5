#include "ops/dropout.h"

#include <cmath>
#include <string>

namespace kw {

DropoutStep::DropoutStep(const StepContext& context)
    : x(context.input(0)),
      seed(context.input(1)),
      step(context.input(2)),
      y(context.output(0)),
      stream(static_cast<uint32_t>(context.integer("stream"))) {
  expect_activation(context, "x", x);
  expect_shape(context, "seed", seed, {}, DataType::int32);
  expect_shape(context, "step", step, {}, DataType::int32);
  expect_shape(context, "y", y, x.shape, x.type);
  const double probability = context.number("probability");
  if (!(probability >= 0 && probability < 1)) context.fail("expected probability in [0, 1) but received " + std::to_string(probability));
  const bool per_sample = context.boolean("perSample");
  if (per_sample && x.shape.empty()) context.fail("expected x with a sample axis but received a scalar");
  draws = per_sample ? x.shape[0] : x.elements();
  width = draws > 0 ? x.elements() / draws : 0;
  threshold = static_cast<uint64_t>(std::ceil(probability * 4294967296.0));
  kept = static_cast<float>(1 / (1 - probability));
}

}  // namespace kw
