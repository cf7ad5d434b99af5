#include "runtime/adaptive_windows.h"

#include "runtime/kernel_checks.h"

namespace kw {

AdaptiveWindows adaptive_windows(const StepContext& context, const Tensor& wide, const Tensor& pooled) {
  const bool is_forward = &wide == &context.input(0);
  const char *wide_name = is_forward ? "x" : "dx", *pooled_name = is_forward ? "y" : "dy";
  const std::vector<int64_t> size = context.integers(is_forward ? "size" : "inputSize");
  if (size.size() != 2)
    context.fail(std::string("expected ") + (is_forward ? "size" : "inputSize") + " of two integers but received " + describe(size));
  expect_rank(context, wide_name, wide, 4, wide.type);
  expect_rank(context, pooled_name, pooled, 4);
  const std::vector<int64_t>& image = wide.shape;
  if (wide.elements() == 0 || pooled.elements() == 0) {
    context.fail(std::string("expected ") + wide_name + " and " + pooled_name + ", not empty, but received " + describe(image) + " and " +
                 describe(pooled.shape));
  }
  if (is_forward) {
    expect_shape(context, pooled_name, pooled, {image[0], size[0], size[1], image[3]});
  } else {
    expect_shape(context, wide_name, wide, {pooled.shape[0], size[0], size[1], pooled.shape[3]}, wide.type);
  }
  return {image[0], {image[1], image[2]}, {pooled.shape[1], pooled.shape[2]}, image[3]};
}

}  // namespace kw
