// sum_rows (the gradient of a bias) and sum_of_squares (gradient norms).
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/reductions/column_reduction.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

template <class T>
KW_WIDE void add_rows(const T* x, int64_t rows, int64_t channels, float* sums) {
  for (int64_t row = 0; row < rows; ++row) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) sums[c] += x[row * channels + c];
  }
}

template <class T>
std::unique_ptr<Kernel> make_sum_rows(const SumRowsStep& step, const KernelContext& context) {
  const ColumnReduction<1> reduction(step.matrix, context.threads);
  context.reserve_scratch(reduction.scratch_bytes());
  return make_kernel([step, reduction](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    float* out = memory.data<float>(step.y);
    const int64_t channels = step.matrix.channels;
    const double* totals = reduction.run(memory.scratch(), [&](int64_t first, int64_t last, float* runs, double* part_totals) {
      add_rows(in + first * channels, last - first, channels, runs);
      reduction.add_run(runs, part_totals);
    });
    for (int64_t c = 0; c < channels; ++c) out[c] = static_cast<float>(totals[c]);
  });
}

std::unique_ptr<Kernel> prepare_sum_rows(const SumRowsStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_sum_rows<T>(step, context); });
}

KW_WIDE double sum_of_squares(const float* x, int64_t begin, int64_t end) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]) * x[i];
  return sum;
}

std::unique_ptr<Kernel> prepare_sum_of_squares(const SumOfSquaresStep& step, const KernelContext& context) {
  const int64_t count = step.x.elements(), parts = reduction_parts(count, 1);
  context.reserve_scratch(static_cast<size_t>(parts) * sizeof(double));
  return make_kernel([step, count, parts, threads = context.threads](const Memory& memory) {
    const float* in = memory.data<float>(step.x);
    double* sums = reinterpret_cast<double*>(memory.scratch());
    parallel_for(threads, parts, 1, [=](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        sums[part] = sum_of_squares(in, range_begin(count, parts, part), range_begin(count, parts, part + 1));
      }
    });
    double total = 0;
    for (int64_t part = 0; part < parts; ++part) total += sums[part];
    *memory.data<float>(step.y) = static_cast<float>(total);
  });
}

}  // namespace

void add_reductions(KernelRegistry& registry) {
  add_kernel(registry, ops::sum_rows, prepare_sum_rows);
  add_kernel(registry, ops::sum_of_squares, prepare_sum_of_squares);
}

}  // namespace kw::cpu
