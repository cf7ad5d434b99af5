// The axes of a tensor in another order.
#include <algorithm>

#include "cpu/cpu_backend.h"
#include "cpu/element.h"
#include "cpu/parallel.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// Where in x the `row`th run of y's innermost axis begins, the rows being those of the outer axes.
int64_t offset_of(const std::vector<OrderedAxis>& outer, int64_t row) {
  int64_t offset = 0;
  for (size_t axis = outer.size(); axis-- > 0 && row != 0;) {
    offset += row % outer[axis].size * outer[axis].stride;
    row /= outer[axis].size;
  }
  return offset;
}

template <class T>
std::unique_ptr<Kernel> make_transpose(const TransposeStep& step, const KernelContext& context) {
  std::vector<OrderedAxis> outer = step.axes;
  const OrderedAxis inner = outer.empty() ? OrderedAxis{1, 1} : outer.back();
  if (!outer.empty()) outer.pop_back();
  return make_kernel(
      [step, outer, inner, rows = step.y.elements() / std::max<int64_t>(inner.size, 1), threads = context.threads](const Memory& memory) {
        const T* in = memory.data<T>(step.x);
        T* out = memory.data<T>(step.y);
        parallel_for(threads, rows, rows_per_thread(inner.size), [=, &outer](int64_t begin, int64_t end) {
          for (int64_t row = begin; row < end; ++row) {
            const T* from = in + offset_of(outer, row);
            T* to = out + row * inner.size;
            if (inner.stride == 1) {
              std::copy_n(from, inner.size, to);
            } else {
              for (int64_t i = 0; i < inner.size; ++i) to[i] = from[i * inner.stride];
            }
          }
        });
      });
}

std::unique_ptr<Kernel> prepare_transpose(const TransposeStep& step, const KernelContext& context) {
  return for_element(step.x, [&]<class T>(std::type_identity<T>) { return make_transpose<T>(step, context); });
}

}  // namespace

void add_transpose(KernelRegistry& registry) { add_kernel(registry, ops::transpose, prepare_transpose); }

}  // namespace kw::cpu
