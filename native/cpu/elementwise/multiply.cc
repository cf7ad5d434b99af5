// x * factor, where factor is the same along some axes, and the gradient of factor: sums over those axes. Neighbouring axes of one kind are
// one axis, so the usual forms (layer scale, gates of channels, positions and kernels) become a few long contiguous runs.
#include <algorithm>
#include <vector>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

int64_t size_of(const std::vector<FactorAxis>& axes) {
  int64_t size = 1;
  for (const FactorAxis& axis : axes) size *= axis.size;
  return size;
}

// Where in factor the `row`th run of the innermost axis begins, the rows being those of the outer axes.
int64_t factor_offset(const std::vector<FactorAxis>& outer, int64_t row) {
  int64_t offset = 0;
  for (size_t axis = outer.size(); axis-- > 0 && row != 0;) {
    offset += row % outer[axis].size * outer[axis].stride;
    row /= outer[axis].size;
  }
  return offset;
}

template <class T>
KW_WIDE void scale(const T* x, float factor, int64_t count, T* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<T>(x[i] * factor);
}

template <class T, class Factor, class Product>
KW_WIDE void multiply(const T* x, const Factor* factor, int64_t count, Product* y) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<Product>(static_cast<float>(x[i]) * static_cast<float>(factor[i]));
}

template <class T>
KW_WIDE void add_products(const T* a, const T* b, int64_t count, float* sums) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<float>(a[i]) * static_cast<float>(b[i]);
}

template <class T>
KW_WIDE double sum_of_products(const T* a, const T* b, int64_t count) {
  constexpr int64_t kRun = 128;  // terms added in float before they go to the double sum
  double total = 0;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(begin + kRun, count);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = begin; i < end; ++i) sum += a[i] * b[i];
    total += sum;
  }
  return total;
}

template <class T>
std::unique_ptr<Kernel> make_multiply(const MultiplyStep& step, const KernelContext& context) {
  std::vector<FactorAxis> outer = step.axes;
  const FactorAxis inner = outer.empty() ? FactorAxis{1, 1} : outer.back();
  if (!outer.empty()) outer.pop_back();
  return make_kernel([step, outer, inner, count = step.y.elements(), threads = context.threads](const Memory& memory) {
    const T* in = memory.data<T>(step.x);
    const float* factors = memory.data<float>(step.factor);
    T* out = memory.data<T>(step.y);
    parallel_for(threads, count, kElementsPerThread, [=, &outer](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t row = begin / inner.size, column = begin % inner.size;
        const int64_t run = std::min(inner.size - column, end - begin);
        const float* row_factors = factors + factor_offset(outer, row);
        if (inner.stride) {
          multiply(in + begin, row_factors + column, run, out + begin);
        } else {
          scale(in + begin, *row_factors, run, out + begin);
        }
        begin += run;
      }
    });
  });
}

std::unique_ptr<Kernel> prepare_multiply(const MultiplyStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_multiply<T>(step, context); });
}

// The sums that make dfactor. Its leading axis, when kept, is a number of groups that do not meet; in each, the first summed axis may be
// cut into parts. A task is a part of a group. The parts depend on the shape only: the same bits on any number of threads.
class FactorReduction {
 public:
  FactorReduction(const std::vector<FactorAxis>& axes, int threads) : threads_(threads) {
    auto next = axes.begin();
    if (next->stride) groups_ = (next++)->size;
    summed_ = (next++)->size;
    outer_.assign(next, axes.end());
    slice_ = size_of(outer_);
    for (const FactorAxis& axis : outer_) {
      if (axis.stride) sums_ *= axis.size;
    }
    if (!outer_.empty()) {
      inner_ = outer_.back();
      outer_.pop_back();
    }
    const int64_t most = std::min(summed_, std::max<int64_t>(1, 64 / groups_));
    parts_ = std::clamp<int64_t>(summed_ * slice_ / kElementsPerThread, 1, most);
  }

  size_t scratch_bytes() const { return static_cast<size_t>(groups_ * parts_ * sums_) * (sizeof(double) + sizeof(float)); }

  template <class T>
  void run(const T* dy, const T* x, std::byte* scratch, float* dfactor) const {
    double* totals = reinterpret_cast<double*>(scratch);  // [groups, parts, sums]
    float* runs = reinterpret_cast<float*>(totals + groups_ * parts_ * sums_);
    const int64_t work = summed_ * slice_ / parts_;
    parallel_for(threads_, groups_ * parts_, rows_per_thread(work), [=, this](int64_t first, int64_t last) {
      for (int64_t task = first; task < last; ++task) {
        const int64_t group = task / parts_, part = task % parts_;
        const int64_t begin = range_begin(summed_, parts_, part), end = range_begin(summed_, parts_, part + 1);
        const int64_t start = (group * summed_ + begin) * slice_;
        add_part(dy + start, x + start, end - begin, totals + task * sums_, runs + task * sums_);
      }
    });
    parallel_for(threads_, groups_ * sums_, std::max<int64_t>(1, kElementsPerThread / parts_), [=, this](int64_t first, int64_t last) {
      for (int64_t element = first; element < last; ++element) {
        const double* parts = totals + element / sums_ * parts_ * sums_ + element % sums_;
        double total = 0;
        for (int64_t part = 0; part < parts_; ++part) total += parts[part * sums_];
        dfactor[element] = static_cast<float>(total);
      }
    });
  }

 private:
  // Sums `count` steps of the summed axis into `totals`, which may hold anything before. `runs` is for short runs in float.
  template <class T>
  void add_part(const T* dy, const T* x, int64_t count, double* totals, float* runs) const {
    std::fill_n(totals, sums_, 0.0);
    if (slice_ == 1) {
      *totals = sum_of_products(dy, x, count);
    } else if (!inner_.stride) {
      const int64_t rows = count * (slice_ / inner_.size);
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t start = row * inner_.size;
        totals[factor_offset(outer_, row % (slice_ / inner_.size))] += sum_of_products(dy + start, x + start, inner_.size);
      }
    } else {
      const int64_t rows_of_slice = slice_ / inner_.size, steps_of_run = std::max<int64_t>(1, kRunTerms * sums_ / slice_);
      for (int64_t step = 0; step < count; step += steps_of_run) {
        std::fill_n(runs, sums_, 0.0f);
        const int64_t last_row = std::min(step + steps_of_run, count) * rows_of_slice;
        for (int64_t row = step * rows_of_slice; row < last_row; ++row) {
          const int64_t start = row * inner_.size;
          add_products(dy + start, x + start, inner_.size, runs + factor_offset(outer_, row % rows_of_slice));
        }
        for (int64_t sum = 0; sum < sums_; ++sum) totals[sum] += runs[sum];
      }
    }
  }

  static constexpr int64_t kRunTerms = 32;

  int threads_;
  int64_t groups_ = 1;
  int64_t summed_;                 // size of the first summed axis
  int64_t slice_;                  // elements of x for each step of it
  int64_t sums_ = 1;               // elements of dfactor that a group has
  int64_t parts_;                  // of the summed axis
  std::vector<FactorAxis> outer_;  // the axes within a slice but the innermost
  FactorAxis inner_ = {1, 1};
};

template <class T>
std::unique_ptr<Kernel> make_multiply_backward_factor(const MultiplyBackwardFactorStep& step, const KernelContext& context) {
  if (step.sums_nothing()) {
    return make_kernel([step, count = step.x.elements(), threads = context.threads](const Memory& memory) {
      const T *gradient = memory.data<T>(step.dy), *in = memory.data<T>(step.x);
      float* out = memory.data<float>(step.dfactor);
      parallel_for(threads, count, kElementsPerThread,
                   [=](int64_t begin, int64_t end) { multiply(gradient + begin, in + begin, end - begin, out + begin); });
    });
  }
  const FactorReduction reduction(step.axes, context.threads);
  context.reserve_scratch(reduction.scratch_bytes());
  return make_kernel([step, reduction](const Memory& memory) {
    reduction.run(memory.data<T>(step.dy), memory.data<T>(step.x), memory.scratch(), memory.data<float>(step.dfactor));
  });
}

std::unique_ptr<Kernel> prepare_multiply_backward_factor(const MultiplyBackwardFactorStep& step, const KernelContext& context) {
  return for_element(step.dy, [&]<class T>(std::type_identity<T>) { return make_multiply_backward_factor<T>(step, context); });
}

}  // namespace

void add_multiply(KernelRegistry& registry) {
  add_kernel(registry, ops::multiply, prepare_multiply);
  add_kernel(registry, ops::multiply_backward_factor, prepare_multiply_backward_factor);
}

}  // namespace kw::cpu
