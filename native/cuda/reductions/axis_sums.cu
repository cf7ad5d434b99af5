#include "cuda/reductions/axis_sums.h"

#include <algorithm>

namespace kw::cuda {

namespace {

// Parts are made until there are so many blocks: enough for any GPU, and no GPU's own number, so that all give the same bits.
constexpr int64_t kBlocks = 1024;

}  // namespace

std::vector<SumAxis> joined_axes(const std::vector<int64_t>& x, const std::vector<bool>& kept) {
  std::vector<SumAxis> axes;
  for (size_t axis = 0; axis < x.size(); ++axis) {
    if (x[axis] == 1) continue;
    if (!axes.empty() && axes.back().is_kept == kept[axis]) {
      axes.back().size *= x[axis];
    } else {
      axes.push_back({x[axis], kept[axis]});
    }
  }
  return axes;
}

AxisSums::AxisSums(const KernelContext& context, const std::vector<SumAxis>& axes, double divisor) : divisor_(divisor) {
  if (axes.size() > size_t{device::kMostAxes}) {
    context.unsupported("expected at most " + std::to_string(device::kMostAxes) +
                        " axes, neighbours that are summed or kept together counted once");
  }
  keeps_columns_ = !axes.empty() && axes.back().is_kept;
  shape_.rows = shape_.terms = shape_.columns = 1;
  if (!axes.empty()) inner_ = axes.back().size;
  if (keeps_columns_) shape_.columns = inner_;
  int64_t stride = 1;
  std::vector<std::pair<SumAxis, int64_t>> with_strides;
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    with_strides.insert(with_strides.begin(), {*axis, stride});
    stride *= axis->size;
  }
  if (keeps_columns_) with_strides.pop_back();
  for (const auto& [axis, axis_stride] : with_strides) {
    device::Axes& group = axis.is_kept ? shape_.kept : shape_.summed;
    group.sizes[group.count] = axis.size;
    group.strides[group.count++] = axis_stride;
    (axis.is_kept ? shape_.rows : shape_.terms) *= axis.size;
  }
  for (const int count : {1, 4, 8}) {
    const int parts = divide(count).parts;
    if (parts > 1) context.reserve_scratch(static_cast<size_t>(shape_.rows * shape_.columns * parts) * sizeof(double));
  }
}

AxisSums::Division AxisSums::divide(int count) const {
  const auto parts = [](int64_t blocks, int64_t most) {
    return std::clamp<int64_t>(kBlocks / std::max<int64_t>(blocks, 1), 1, std::max<int64_t>(most, 1));
  };
  Division division{};
  if (keeps_columns_) {
    const int64_t packs = (shape_.columns + count - 1) / count;
    division.threads = device::kSumThreads;
    division.lanes = 1;
    while (division.lanes < packs && division.lanes < device::kWarpSize) division.lanes *= 2;
    const int64_t tiles = (packs + division.lanes - 1) / division.lanes, lines = device::kSumThreads / division.lanes;
    division.parts = static_cast<int>(parts(shape_.rows * tiles, shape_.terms / (lines * device::kRunTerms)));
    division.blocks = shape_.rows * tiles * division.parts;
  } else {
    const int64_t packs = shape_.terms / count;
    division.threads = device::kWarpSize;
    while (division.threads * 2 <= std::min<int64_t>(packs, device::kSumThreads)) division.threads *= 2;
    division.parts = static_cast<int>(parts(shape_.rows, packs / (int64_t{division.threads} * device::kRunTerms)));
    division.blocks = shape_.rows * division.parts;
  }
  return division;
}

}  // namespace kw::cuda
