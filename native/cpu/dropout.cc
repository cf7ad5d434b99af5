// Dropout of elements, or of whole samples (stochastic depth). The mask is a function of seed, step, stream and position alone: nothing is
// stored, and the op is its own gradient.
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/kernel.h"
#include "cpu/parallel.h"
#include "cpu/philox.h"

namespace kw::cpu {
namespace {

constexpr uint32_t kKey = 0x4b57;  // the key's second word, fixed by the plan format
constexpr int64_t kLanes = 4;

struct Draws {
  uint32_t seed;
  uint32_t step;
  uint32_t stream;

  // The random words of elements 4 * block .. 4 * block + 3.
  std::array<uint32_t, kLanes> operator()(int64_t block) const {
    return philox({static_cast<uint32_t>(block), stream, step, 0}, {seed, kKey});
  }
};

std::unique_ptr<Kernel> prepare_dropout(const StepContext& context) {
  const Tensor &x = context.input(0), &seed = context.input(1), &step = context.input(2), &y = context.output(0);
  expect_type(context, "x", x);
  expect_shape(context, "seed", seed, {}, DataType::int32);
  expect_shape(context, "step", step, {}, DataType::int32);
  expect_shape(context, "y", y, x.shape);
  const double probability = context.number("probability");
  if (!(probability >= 0 && probability < 1)) context.fail("expected probability in [0, 1) but received " + std::to_string(probability));
  const bool per_sample = context.boolean("perSample");
  if (per_sample && x.shape.empty()) context.fail("expected x with a sample axis but received a scalar");
  const uint32_t stream = static_cast<uint32_t>(context.integer("stream"));
  const int64_t draws = per_sample ? x.shape[0] : x.elements();
  const int64_t width = draws > 0 ? x.elements() / draws : 0;  // elements that share a draw
  // lane * 2^-32 < probability, as integers
  const uint64_t threshold = static_cast<uint64_t>(std::ceil(probability * 4294967296.0));
  const float kept = static_cast<float>(1 / (1 - probability));
  return make_kernel([&, stream, draws, width, threshold, kept, threads = context.threads](const Memory& memory) {
    const float* in = memory.data<float>(x);
    float* out = memory.data<float>(y);
    const Draws words{static_cast<uint32_t>(*memory.data<int32_t>(seed)), static_cast<uint32_t>(*memory.data<int32_t>(step)), stream};
    const int64_t blocks = (draws + kLanes - 1) / kLanes;
    parallel_for(threads, blocks, rows_per_thread(kLanes * width), [=](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        const std::array<uint32_t, kLanes> lanes = words(block);
        for (int64_t draw = block * kLanes; draw < std::min((block + 1) * kLanes, draws); ++draw) {
          const bool dropped = lanes[static_cast<size_t>(draw % kLanes)] < threshold;
          for (int64_t i = draw * width; i < (draw + 1) * width; ++i) out[i] = dropped ? 0.0f : in[i] * kept;
        }
      }
    });
  });
}

}  // namespace

void add_dropout(KernelRegistry& registry) { registry.add("dropout", prepare_dropout); }

}  // namespace kw::cpu
