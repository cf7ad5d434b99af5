#include "cuda/mixing/cell_mixing.h"

#include <algorithm>
#include <string>
#include <vector>

#include "cuda/grid.h"
#include "cuda/kernels/mix_cells.cuh"
#include "cuda/launch.h"

namespace kw::cuda {

namespace {

// Blocks that a product should have for each multiprocessor before its sum is divided no further.
constexpr int64_t kBlocksOfMultiprocessor = 2;
// Stages of its loop that a block should have at least.
constexpr int64_t kLeastStages = 4;

// Rows and elements of cells in a block of mixing; rows are many, and each element of a cell is read once for this many of them.
template <class Product>
constexpr int kMixTile = std::is_same_v<Product, device::FloatFma> ? 64 : 128;
// The same of the gradients, one side of which is the number of cells.
constexpr int kGradientTile = 64;

// Partial sums are float32 in rows of 16-byte vectors.
int64_t partial_length(int64_t elements) { return whole_parts(elements, 4) * 4; }

struct Offsets {
  std::vector<int32_t> mixtures, elements;
};

// Of mixture i = (s * Go + go) * Gi + gi, its first element in the weight [O,kh,kw,I], and from there the elements of a cell
// [fe,keh,kew,ce] (docs/ops.md).
Offsets offsets_of(const CellGrid& g) {
  const int64_t column = g.in_channels, row = g.kernel_width * column, out = g.kernel_height * row;
  Offsets offsets;
  const auto each = [](std::vector<int32_t>& into, int64_t a_count, int64_t b_count, int64_t c_count, int64_t d_count, int64_t a_step,
                       int64_t b_step, int64_t c_step, int64_t d_step) {
    for (int64_t a = 0; a < a_count; ++a) {
      for (int64_t b = 0; b < b_count; ++b) {
        for (int64_t c = 0; c < c_count; ++c) {
          for (int64_t d = 0; d < d_count; ++d) into.push_back(static_cast<int32_t>(a * a_step + b * b_step + c * c_step + d * d_step));
        }
      }
    }
  };
  each(offsets.mixtures, g.kernel_height / g.cell_height, g.kernel_width / g.cell_width, g.out_channels / g.cell_out,
       g.in_channels / g.cell_in, g.cell_height * row, g.cell_width * column, g.cell_out * out, g.cell_in);
  each(offsets.elements, g.cell_out, g.cell_height, g.cell_width, g.cell_in, out, row, column, 1);
  return offsets;
}

// The first of each `length` elements; nothing where such runs do not stay together, or not at multiples of their length.
std::vector<int32_t> run_offsets(const Offsets& offsets, size_t length) {
  const auto is_multiple = [&](int32_t offset) { return offset % static_cast<int32_t>(length) == 0; };
  if (offsets.elements.size() % length != 0 || !std::all_of(offsets.mixtures.begin(), offsets.mixtures.end(), is_multiple)) return {};
  std::vector<int32_t> runs;
  for (size_t first = 0; first < offsets.elements.size(); first += length) {
    for (size_t i = 1; i < length; ++i) {
      if (offsets.elements[first + i] != offsets.elements[first] + static_cast<int32_t>(i)) return {};
    }
    if (!is_multiple(offsets.elements[first])) return {};
    runs.push_back(offsets.elements[first]);
  }
  return runs;
}

}  // namespace

CellMixing::CellMixing(const Device& gpu, const KernelContext& context, const CellGrid& grid, int64_t samples, DataType weights,
                       bool unaligned)
    : gpu_(gpu),
      grid_(grid),
      samples_(samples),
      product_(weights == DataType::bfloat16 ? Product::bfloat16 : (gpu.tf32 ? Product::tf32 : Product::float32)),
      element_bytes_(element_bytes(weights)) {
  constexpr int64_t kMost = int64_t{1} << 31;
  if (rows(samples) >= kMost || grid.weight_elements() >= kMost) {
    context.unsupported("expected fewer than 2^31 weights in a sample and mixtures in a batch; use a smaller batch");
  }
  const Offsets offsets = offsets_of(grid);
  const std::vector<int32_t> runs = run_offsets(offsets, static_cast<size_t>(16 / element_bytes_));
  mixture_offsets_ = upload(offsets.mixtures);
  if (!runs.empty()) vector_offsets_ = upload(runs);
  if (runs.empty() || unaligned) element_offsets_ = upload(offsets.elements);
}

void CellMixing::keep_cells(const KernelContext& context, const Tensor& cells) {
  const int64_t n = grid_.cells, length = grid_.cell_elements(), stride = padded(length);
  const std::string key =
      "cells " + std::to_string(n) + "x" + std::to_string(length) + (product_ == Product::bfloat16 ? " bfloat16" : " float32");
  const auto convert = [&gpu = gpu_, &cells, n, length, stride, rounds = product_ == Product::bfloat16](const Memory& memory,
                                                                                                        const DeviceArray& copy) {
    const auto pad = [&](auto* to) {
      constexpr int kVector = 16 / sizeof(*to);
      launch(device::pad_rows<std::remove_pointer_t<decltype(to)>>, pass_grid(gpu, n * stride / kVector), kPassThreads, 0, gpu.stream,
             memory.data<float>(cells), n, static_cast<int>(length), static_cast<int>(stride), to);
    };
    if (rounds) {
      pad(copy.data<device::bfloat16>());
    } else {
      pad(copy.data<float>());
    }
  };
  cells_ = converted_copy(context, key, cells, static_cast<size_t>(n * stride * element_bytes_), convert);
}

int64_t CellMixing::padded(int64_t elements) const {
  const int64_t vector = 16 / element_bytes_;
  return whole_parts(elements, vector) * vector;
}

size_t CellMixing::attention_bytes(int64_t samples) const {
  return static_cast<size_t>(rows(samples) * padded(grid_.cells) * element_bytes_);
}

device::WeightPlaces CellMixing::places(const SampleWeights& weights) const {
  const bool aligned = vector_offsets_ && reinterpret_cast<uintptr_t>(weights.data) % 16 == 0 && weights.stride * element_bytes_ % 16 == 0;
  return {mixture_offsets_->data<int>(),
          (aligned ? vector_offsets_ : element_offsets_)->data<int>(),
          static_cast<int>(grid_.mixtures()),
          static_cast<int>(grid_.cell_elements()),
          aligned,
          static_cast<long long>(weights.stride)};
}

template <class Launch>
void CellMixing::with_product(const Launch& launch) const {
  switch (product_) {
    case Product::bfloat16:
      return launch.template operator()<device::Bfloat16Mma>();
    case Product::tf32:
      return launch.template operator()<device::Tf32Mma>();
    case Product::float32:
      return launch.template operator()<device::FloatFma>();
  }
}

void CellMixing::convert_attention(const float* attention, int64_t samples, std::byte* converted) const {
  with_product([&]<class Product>() {
    using Element = typename Product::Element;
    const int64_t stride = padded(grid_.cells);
    launch(device::pad_rows<Element>, pass_grid(gpu_, rows(samples) * stride / device::kPack<Element>), kPassThreads, 0, gpu_.stream,
           attention, rows(samples), static_cast<int>(grid_.cells), static_cast<int>(stride), reinterpret_cast<Element*>(converted));
  });
}

void CellMixing::mix(const std::byte* attention, int64_t samples, const SampleWeights& weights) const {
  with_product([&]<class Product>() {
    using Block = device::GemmTile<Product, kMixTile<Product>>;
    using Element = typename Block::Element;
    const int row_count = static_cast<int>(rows(samples)), n = static_cast<int>(grid_.cells),
              cell = static_cast<int>(padded(grid_.cell_elements()));
    const int64_t row_tiles = whole_parts(row_count, Block::kTile), column_tiles = whole_parts(cell, Block::kTile);
    const device::MixTask<Element> task = {{reinterpret_cast<const Element*>(attention), row_count, static_cast<int>(padded(n))},
                                           {cells_->data<Element>(), n, cell},
                                           reinterpret_cast<Element*>(weights.data),
                                           places(weights),
                                           static_cast<int>(row_tiles)};
    launch(device::mix_cells<Block>, dim3(static_cast<unsigned>(row_tiles * column_tiles)), Block::kThreads,
           device::MixGemm<Block>::kSharedBytes, gpu_.stream, task);
  });
}

CellMixing::Split CellMixing::split_of(int64_t tiles, int64_t total) const {
  const int64_t depth_of_stage = 64 / element_bytes_;
  const int64_t most = whole_parts(total, kLeastStages * depth_of_stage);
  const int64_t wanted =
      std::clamp<int64_t>(whole_parts(kBlocksOfMultiprocessor * gpu_.multiprocessors, tiles), 1, std::max<int64_t>(most, 1));
  const int64_t depth = whole_parts(whole_parts(total, wanted), depth_of_stage) * depth_of_stage;
  return {static_cast<int>(whole_parts(total, depth)), static_cast<int>(depth)};
}

CellMixing::Split CellMixing::attention_split(int64_t samples) const {
  return split_of(whole_parts(rows(samples), kGradientTile) * whole_parts(grid_.cells, kGradientTile), padded(grid_.cell_elements()));
}

CellMixing::Split CellMixing::cell_split() const {
  return split_of(whole_parts(grid_.cells, kGradientTile) * whole_parts(grid_.cell_elements(), kGradientTile), rows(samples_));
}

size_t CellMixing::attention_scratch_bytes() const {
  // A smaller number of samples may be divided into more partial sums, but never into more of them than there is room for all samples'
  // tiles.
  size_t most = 0;
  for (int64_t samples = 1; samples <= samples_; ++samples) {
    most = std::max(most, static_cast<size_t>(attention_split(samples).count) *
                              static_cast<size_t>(rows(samples) * partial_length(grid_.cells)) * sizeof(float));
  }
  return most;
}

void CellMixing::backward_attention(const SampleWeights& dweights, int64_t samples, float* dattention, std::byte* scratch) const {
  const Split split = attention_split(samples);
  const int64_t length = partial_length(grid_.cells), row_count = rows(samples);
  auto* partials = reinterpret_cast<float*>(scratch);
  with_product([&]<class Product>() {
    using Block = device::GemmTile<Product, kGradientTile>;
    using Element = typename Block::Element;
    const int n = static_cast<int>(grid_.cells), cell = static_cast<int>(padded(grid_.cell_elements()));
    const int64_t row_tiles = whole_parts(row_count, Block::kTile), column_tiles = whole_parts(n, Block::kTile);
    const device::AttentionGradientTask<Element> task = {
        {reinterpret_cast<const Element*>(dweights.data), places(dweights), static_cast<int>(row_count)},
        {cells_->data<Element>(), n, cell},
        {partials, static_cast<int>(row_count), static_cast<int>(length), true, false},
        static_cast<int>(row_tiles),
        {cell, split.depth}};
    launch(device::mix_cells_backward_attention<Block>,
           dim3(static_cast<unsigned>(row_tiles * column_tiles), static_cast<unsigned>(split.count)), Block::kThreads,
           device::AttentionGradientGemm<Block>::kSharedBytes, gpu_.stream, task);
  });
  launch(device::sum_partials, pass_grid(gpu_, row_count * grid_.cells), kPassThreads, 0, gpu_.stream, partials, split.count, row_count,
         static_cast<int>(grid_.cells), static_cast<int>(length), false, dattention);
}

size_t CellMixing::cell_scratch_bytes() const {
  const int count = cell_split().count;
  return count == 1 ? 0
                    : static_cast<size_t>(count) * static_cast<size_t>(grid_.cells * partial_length(grid_.cell_elements())) * sizeof(float);
}

void CellMixing::backward_cells(const std::byte* attention, const SampleWeights& dweights, int64_t samples, Part part,
                                const CellGradient& gradient) const {
  const Split split = cell_split();
  const int64_t n = grid_.cells, cell = grid_.cell_elements();
  auto* partials = reinterpret_cast<float*>(gradient.scratch);
  const bool in_place = split.count == 1;
  const auto length = static_cast<int>(in_place ? cell : partial_length(cell));
  float* sums = in_place ? gradient.dcells : partials;
  const bool aligned = length % 4 == 0 && reinterpret_cast<uintptr_t>(sums) % 16 == 0;
  const bool adds = !part.is_first || (in_place && gradient.accumulates);
  with_product([&]<class Product>() {
    using Block = device::GemmTile<Product, kGradientTile>;
    using Element = typename Block::Element;
    const int row_count = static_cast<int>(rows(samples));
    const int64_t row_tiles = whole_parts(n, Block::kTile), column_tiles = whole_parts(cell, Block::kTile);
    const device::CellGradientTask<Element> task = {{reinterpret_cast<const Element*>(attention), row_count, static_cast<int>(padded(n))},
                                                    {reinterpret_cast<const Element*>(dweights.data), places(dweights), row_count},
                                                    {sums, static_cast<int>(n), length, aligned, adds},
                                                    static_cast<int>(row_tiles),
                                                    {row_count, split.depth}};
    launch(device::mix_cells_backward_cells<Block>,
           dim3(static_cast<unsigned>(row_tiles * column_tiles), static_cast<unsigned>(split.count)), Block::kThreads,
           device::CellGradientGemm<Block>::kSharedBytes, gpu_.stream, task);
  });
  if (in_place || !part.is_last) return;
  launch(device::sum_partials, pass_grid(gpu_, n * cell), kPassThreads, 0, gpu_.stream, partials, split.count, n, static_cast<int>(cell),
         length, gradient.accumulates, gradient.dcells);
}

}  // namespace kw::cuda
