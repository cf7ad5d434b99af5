// c = op(a) op(b) (+ bias on each row), two-dimensional, by oneDNN's SGEMM.
#include <algorithm>
#include <memory>

#include "cpu/cpu_backend.h"
#include "cpu/onednn.h"
#include "ops/op_list.h"

namespace kw::cpu {

namespace {

// Multiplications that are worth a thread: below it the fork costs more than it saves.
constexpr double kProductsPerThread = 1 << 18;

std::unique_ptr<Kernel> prepare_matmul(const MatmulStep& step, const KernelContext& context) {
  const int64_t rows = step.rows, inner = step.inner, columns = step.columns;
  // In double: the number of products may be beyond int64_t.
  const double products = static_cast<double>(rows) * static_cast<double>(inner) * static_cast<double>(columns);
  const auto threads = static_cast<int>(std::clamp<double>(products / kProductsPerThread, 1, context.threads));
  return make_kernel([step, rows, inner, columns, threads](const Memory& memory) {
    auto* to = memory.data<float>(step.c);
    if (step.bias) {
      const auto* from = memory.data<float>(*step.bias);
      for (int64_t row = 0; row < rows; ++row) std::copy(from, from + columns, to + row * columns);
    }
    const ThreadLimit limit(threads);
    check_onednn("a matrix product", dnnl_sgemm(step.transpose_a ? 'T' : 'N', step.transpose_b ? 'T' : 'N', rows, columns, inner, 1.0f,
                                                memory.data<float>(step.a), step.a.shape[1], memory.data<float>(step.b), step.b.shape[1],
                                                step.bias ? 1.0f : 0.0f, to, columns));
  });
}

}  // namespace

void add_matmul(KernelRegistry& registry) { add_kernel(registry, ops::matmul, prepare_matmul); }

}  // namespace kw::cpu
