// c = op(a) op(b) (+ bias on each row), two-dimensional, by oneDNN's SGEMM.
#include <algorithm>
#include <memory>

#include "cpu/cpu_backend.h"
#include "cpu/onednn.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {

namespace {

// Multiplications that are worth a thread: below it the fork costs more than it saves.
constexpr int64_t kProductsPerThread = int64_t{1} << 18;

std::unique_ptr<Kernel> matmul(const StepContext& context) {
  const Tensor& a = context.input(0);
  const Tensor& b = context.input(1);
  const Tensor& c = context.output(0);
  const Tensor* bias = context.has_input(2) ? &context.input(2) : nullptr;
  const bool transpose_a = context.boolean("transposeA");
  const bool transpose_b = context.boolean("transposeB");
  expect_rank(context, "a", a, 2);
  expect_rank(context, "b", b, 2);
  const int64_t rows = a.shape[transpose_a ? 1 : 0];
  const int64_t inner = a.shape[transpose_a ? 0 : 1];
  const int64_t columns = b.shape[transpose_b ? 0 : 1];
  expect_shape(context, "b", b, transpose_b ? std::vector{columns, inner} : std::vector{inner, columns});
  expect_shape(context, "c", c, {rows, columns});
  if (bias) expect_shape(context, "bias", *bias, {columns});
  if (rows < 1 || inner < 1 || columns < 1) context.fail("expected matrices that are not empty");
  const auto threads = static_cast<int>(std::clamp<int64_t>(rows * inner * columns / kProductsPerThread, 1, context.threads));

  return make_kernel([&a, &b, &c, bias, transpose_a, transpose_b, rows, inner, columns, threads](const Memory& memory) {
    auto* to = memory.data<float>(c);
    if (bias) {
      const auto* from = memory.data<float>(*bias);
      for (int64_t row = 0; row < rows; ++row) std::copy(from, from + columns, to + row * columns);
    }
    const ThreadLimit limit(threads);
    check_onednn("a matrix product",
                 dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', rows, columns, inner, 1.0f, memory.data<float>(a), a.shape[1],
                            memory.data<float>(b), b.shape[1], bias ? 1.0f : 0.0f, to, columns));
  });
}

}  // namespace

void add_matmul(KernelRegistry& registry) { registry.add("matmul", matmul); }

}  // namespace kw::cpu
