// Sums over some axes of a tensor, in a fixed order: kernels and scratch for a shape. For .cu files.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/axis_sums.cuh"
#include "cuda/pass.h"
#include "runtime/backend.h"

namespace kw::cuda {

struct SumAxis {
  int64_t size;
  bool is_kept;
};

/** The axes of x, outermost first, those of size 1 left away and neighbours of one kind joined. `kept[axis]`: not summed. */
std::vector<SumAxis> joined_axes(const std::vector<int64_t>& x, const std::vector<bool>& kept);

/** float32 sums of float32 or bfloat16 terms, one for each place of the kept axes, row-major, each divided by a number. */
class AxisSums {
 public:
  /** `axes` from joined_axes. Reserves scratch. Throws unsupported when there are more axes than kernels take. */
  AxisSums(const KernelContext& context, const std::vector<SumAxis>& axes, double divisor = 1);

  /** Queues the sums. `x`: every tensor that `terms` reads. */
  template <class Terms>
  void launch_sums(const Device& gpu, const Terms& terms, std::initializer_list<const void*> x, std::byte* scratch, float* sums) const {
    constexpr int kCount = device::kPack<typename Terms::Element>;
    if (inner_ % kCount == 0 && starts_packs(x)) {
      launch_width<Terms, kCount>(gpu, terms, scratch, sums);
    } else {
      launch_width<Terms, 1>(gpu, terms, scratch, sums);
    }
  }

 private:
  // How a kernel for packs of `count` elements is started.
  struct Division {
    int parts;
    int threads;  // of a block
    int lanes;    // side by side, where the innermost axis is kept
    int64_t blocks;
  };
  Division divide(int count) const;

  template <class Terms, int kCount>
  void launch_width(const Device& gpu, const Terms& terms, std::byte* scratch, float* sums) const {
    const Division division = divide(kCount);
    device::SumShape shape = shape_;
    shape.splits = division.parts;
    const device::SumOutput output{sums, reinterpret_cast<double*>(scratch), divisor_};
    const dim3 grid(static_cast<unsigned>(division.blocks)), block(static_cast<unsigned>(division.threads));
    if (keeps_columns_) {
      launch(device::sum_columns<Terms, kCount>, grid, block, 0, gpu.stream, terms, shape, division.lanes, output);
    } else {
      launch(device::sum_rows<Terms, kCount>, grid, block, 0, gpu.stream, terms, shape, output);
    }
    if (division.parts == 1) return;
    const int64_t count = shape.rows * shape.columns;
    const dim3 finish(static_cast<unsigned>((count * device::kWarpSize + kPassThreads - 1) / kPassThreads));
    launch(device::finish_sums<device::SumOutput>, finish, kPassThreads, 0, gpu.stream, output, count, division.parts);
  }

  device::SumShape shape_{};
  int64_t inner_ = 1;  // size of the innermost axis
  bool keeps_columns_ = false;
  double divisor_;
};

}  // namespace kw::cuda
