// Dropout of elements, or of whole samples (stochastic depth). The mask is a function of seed, step, stream and position alone: nothing is
// stored, and the op is its own gradient.
#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/elementwise/philox.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

constexpr uint32_t kKey = 0x4b57;  // the key's second word, fixed by the plan format
constexpr int64_t kLanes = 4;

// What element (or sample) number `draw` is multiplied with, for a few draws at a time: 0 when dropped.
constexpr int64_t kTileDraws = 64;

struct Mask {
  uint32_t seed;
  uint32_t step;
  uint32_t stream;
  uint64_t threshold;  // dropped below it: lane * 2^-32 < probability, as integers
  float kept;

  void fill(int64_t tile, float* factors) const {
    for (int64_t block = 0; block < kTileDraws / kLanes; ++block) {
      const auto counter = static_cast<uint32_t>(tile * (kTileDraws / kLanes) + block);
      const std::array<uint32_t, kLanes> lanes = philox({counter, stream, step, 0}, {seed, kKey});
      for (int64_t lane = 0; lane < kLanes; ++lane)
        factors[block * kLanes + lane] = lanes[static_cast<size_t>(lane)] < threshold ? 0.0f : kept;
    }
  }
};

// A dropped value is 0 even where x is not finite, so it is chosen, not multiplied.
template <class T>
KW_WIDE void scale(const T* x, const float* factors, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(factors[i] == 0.0f ? 0.0f : x[i] * factors[i]);
}

template <class T>
KW_WIDE void scale_all(const T* x, float factor, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(factor == 0.0f ? 0.0f : x[i] * factor);
}

template <class T>
std::unique_ptr<Kernel> make_dropout(const DropoutStep& step, const KernelContext& context) {
  return make_kernel([step, threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    T* out = memory.data<T>(step.y);
    const Mask mask{static_cast<uint32_t>(*memory.data<int32_t>(step.seed)), static_cast<uint32_t>(*memory.data<int32_t>(step.step)),
                    step.stream, step.threshold, step.kept};
    const int64_t draws = step.draws, width = step.width;
    const int64_t tiles = (draws + kTileDraws - 1) / kTileDraws;
    parallel_for(threads, tiles, rows_per_thread(kTileDraws * width), [=](int64_t begin, int64_t end) {
      float factors[kTileDraws];
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t first = tile * kTileDraws, count = std::min(kTileDraws, draws - first);
        mask.fill(tile, factors);
        if (width == 1) {
          scale(in + first, factors, count, out + first);
        } else {
          for (int64_t draw = 0; draw < count; ++draw)
            scale_all(in + (first + draw) * width, factors[draw], width, out + (first + draw) * width);
        }
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_dropout(const DropoutStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_dropout<T>(step, context); });
}

}  // namespace

void add_dropout(KernelRegistry& registry) { add_kernel(registry, ops::dropout, prepare_dropout); }

}  // namespace kw::cpu
