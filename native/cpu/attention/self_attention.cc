// Multi-head self-attention (Vaswani et al. 2017) and its gradient. A task is a block of queries of one head of one sample (forward) or a
// whole head (backward); its scores fill one block of rows, so no matrix of T x T exists. The gradient computes the probabilities again.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/exponential.h"
#include "cpu/onednn.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// Rows of scores at a time: they stay in the second-level cache with the keys and values that they meet.
constexpr int64_t kBlock = 64;

// Where a head begins in [N, T, D]; its rows are `channels` apart.
int64_t head_offset(const Heads& heads, int64_t head) {
  return head / heads.heads * heads.tokens * heads.channels + head % heads.heads * heads.width();
}

// c = alpha op(a) op(b) + beta c on the calling thread; row-major, a stride is the distance between rows.
struct Operand {
  const float* data;
  int64_t stride;
  bool transposed = false;
};
dnnl_status_t product(int64_t rows, int64_t columns, int64_t inner, float alpha, Operand a, Operand b, float beta, float* c,
                      int64_t c_stride) {
  return dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', rows, columns, inner, alpha, a.data, a.stride, b.data, b.stride,
                    beta, c, c_stride);
}

// scores [rows, tokens] become probabilities; log_sums [rows] the logarithms of their sums of exponentials.
KW_WIDE void softmax_rows(float* scores, int64_t rows, int64_t tokens, float* log_sums) {
  for (int64_t row = 0; row < rows; ++row) {
    float* p = scores + row * tokens;
    const float largest = largest_of(p, tokens);
    const float sum = exponentials(p, tokens, largest, p);
    log_sums[row] = largest + std::log(sum);
    const float inverse = 1.0f / sum;
#pragma omp simd
    for (int64_t j = 0; j < tokens; ++j) p[j] *= inverse;
  }
}

// scores become probabilities p; dp (the gradient of p) becomes that of the products of query and key: p (dp - sum(dy y)) * scale.
KW_WIDE void softmax_rows_backward(float* scores, float* dp, int64_t rows, int64_t tokens, const float* log_sums, const float* dy,
                                   const float* y, int64_t stride, int64_t width, float scale) {
  for (int64_t row = 0; row < rows; ++row) {
    const float *dy_row = dy + row * stride, *y_row = y + row * stride;
    float mean = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t c = 0; c < width; ++c) mean += dy_row[c] * y_row[c];
    float *p = scores + row * tokens, *gradient = dp + row * tokens;
    const float log_sum = log_sums[row];
#pragma omp simd
    for (int64_t j = 0; j < tokens; ++j) {
      p[j] = exponential(p[j] - log_sum);
      gradient[j] = p[j] * (gradient[j] - mean) * scale;
    }
  }
}

// Calls task(index, scratch of the thread that runs it, `scratch_elements` floats) for every index below `tasks`.
template <class Task>
void for_each_task(int threads, int64_t tasks, std::byte* scratch, int64_t scratch_elements, const Task& task) {
  const int64_t workers = std::min<int64_t>(threads, tasks);
  std::atomic<dnnl_status_t> failure = dnnl_success;
  parallel_for(threads, workers, 1, [&](int64_t first, int64_t last) {
    const ThreadLimit alone(1);
    for (int64_t worker = first; worker < last; ++worker) {
      float* own = reinterpret_cast<float*>(scratch) + worker * scratch_elements;
      for (int64_t index = range_begin(tasks, workers, worker); index < range_begin(tasks, workers, worker + 1); ++index) {
        const dnnl_status_t status = task(index, own);
        if (status != dnnl_success) failure = status;
      }
    }
  });
  check_onednn("a product of queries, keys and values", failure);
}

std::unique_ptr<Kernel> prepare_self_attention(const SelfAttentionStep& step, const KernelContext& context) {
  const int64_t block = std::min(kBlock, step.heads.tokens), blocks = (step.heads.tokens + block - 1) / block;
  const int64_t scratch_elements = (block * step.heads.tokens + 15) / 16 * 16;
  context.reserve_scratch(static_cast<size_t>(context.threads * scratch_elements) * sizeof(float));
  return make_kernel([step, block, blocks, scratch_elements, threads = context.threads](const Memory& memory) {
    const float *q = memory.data<float>(step.query), *k = memory.data<float>(step.key), *v = memory.data<float>(step.value);
    float *out = memory.data<float>(step.y), *log_sums = memory.data<float>(step.log_sum_exp);
    const Heads heads = step.heads;
    const int64_t stride = heads.channels, tokens = heads.tokens, width = heads.width();
    for_each_task(threads, heads.count() * blocks, memory.scratch(), scratch_elements, [=](int64_t task, float* scores) {
      const int64_t head = task / blocks, first = task % blocks * block, rows = std::min(block, tokens - first);
      const int64_t start = head_offset(heads, head), rows_start = start + first * stride;
      const dnnl_status_t status =
          product(rows, tokens, width, heads.scale(), {q + rows_start, stride}, {k + start, stride, true}, 0.0f, scores, tokens);
      if (status != dnnl_success) return status;
      softmax_rows(scores, rows, tokens, log_sums + head * tokens + first);
      return product(rows, width, tokens, 1.0f, {scores, tokens}, {v + start, stride}, 0.0f, out + rows_start, stride);
    });
  });
}

class SelfAttentionBackward final : public Kernel {
 public:
  SelfAttentionBackward(const SelfAttentionBackwardStep& step, const KernelContext& context)
      : step_(step),
        threads_(context.threads),
        block_(std::min(kBlock, step.heads.tokens)),
        scratch_elements_((2 * block_ * step.heads.tokens + 15) / 16 * 16) {
    context.reserve_scratch(static_cast<size_t>(threads_ * scratch_elements_) * sizeof(float));
  }

  void run(const Memory& memory) override {
    for_each_task(threads_, step_.heads.count(), memory.scratch(), scratch_elements_,
                  [&](int64_t head, float* scratch) { return run_head(memory, head, scratch); });
  }

 private:
  dnnl_status_t run_head(const Memory& memory, int64_t head, float* p) const {
    const Heads& heads = step_.heads;
    const int64_t stride = heads.channels, tokens = heads.tokens, width = heads.width(), start = head_offset(heads, head);
    const auto at = [&](const Tensor& tensor) { return memory.data<float>(tensor) + start; };
    float* dp = p + block_ * tokens;
    for (int64_t first = 0; first < tokens; first += block_) {
      const int64_t rows = std::min(block_, tokens - first), skipped = first * stride;
      const float kept = first == 0 ? 0.0f : 1.0f;  // of the sums over earlier blocks
      const Operand q{at(step_.query) + skipped, stride}, dy{at(step_.dy) + skipped, stride};
      dnnl_status_t status = product(rows, tokens, width, heads.scale(), q, {at(step_.key), stride, true}, 0.0f, p, tokens);
      if (status != dnnl_success) return status;
      status = product(rows, tokens, width, 1.0f, dy, {at(step_.value), stride, true}, 0.0f, dp, tokens);
      if (status != dnnl_success) return status;
      softmax_rows_backward(p, dp, rows, tokens, memory.data<float>(step_.log_sum_exp) + head * tokens + first, dy.data,
                            at(step_.y) + skipped, stride, width, heads.scale());
      status = product(tokens, width, rows, 1.0f, {p, tokens, true}, dy, kept, at(step_.dvalue), stride);
      if (status != dnnl_success) return status;
      status = product(rows, width, tokens, 1.0f, {dp, tokens}, {at(step_.key), stride}, 0.0f, at(step_.dquery) + skipped, stride);
      if (status != dnnl_success) return status;
      status = product(tokens, width, rows, 1.0f, {dp, tokens, true}, q, kept, at(step_.dkey), stride);
      if (status != dnnl_success) return status;
    }
    return dnnl_success;
  }

  const SelfAttentionBackwardStep step_;
  int threads_;
  int64_t block_;
  int64_t scratch_elements_;  // of each thread: probabilities and their gradients, [block, tokens] each
};

}  // namespace

void add_self_attention(KernelRegistry& registry) {
  add_kernel(registry, ops::self_attention, prepare_self_attention);
  add_kernel(registry, ops::self_attention_backward,
             [](const auto& step, const KernelContext& context) { return std::make_unique<SelfAttentionBackward>(step, context); });
}

}  // namespace kw::cpu
