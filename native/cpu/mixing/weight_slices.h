// How a mixed convolution is cut into pieces that stay in caches: the samples into chunks, the weights into slices of channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/convolution/convolution.h"
#include "cpu/mixing/cell_placement.h"
#include "runtime/backend.h"

namespace kw::cpu {

// Room for the weights of a chunk: what it holds should be found in a cache by the convolution.
inline constexpr int64_t kChunkBytes = int64_t{32} << 20;

// The samples of a chunk, all of whose weights are to take at most `bytes`: a multiple of the threads where there are enough samples, and
// chunks of nearly equal size.
int64_t samples_of_chunk(int64_t samples, int64_t weight_bytes, int64_t threads, int64_t bytes);

// How a pass cuts its weights into slices along the channels that it does not sum over.
struct WeightSlicing {
  CellSlices slices;
  bool parallel = false;  // a slice for each thread, which mixes and convolves it for all samples
};
// For weights of the type `weights`.
WeightSlicing weight_slicing(const ConvolutionGeometry& geometry, const CellGrid& grid, ConvolutionPass pass, DataType weights,
                             int threads);

// Room for a slice's weights of a chunk, where a thread mixes and convolves the slice; `grid` is the slice's.
int64_t slice_bytes(const CellGrid& grid, int64_t weight_bytes, int threads);

// Of the convolution by one band.
ConvolutionGeometry band_geometry(ConvolutionGeometry geometry, const CellGrid& band);
// Those of a slice whose bands, each laid out alike, come one after the other at this distance.
WeightOffsets slice_offsets(WeightOffsets band, CellSlices::Axis axis, int64_t bands, int64_t distance);

// A band's channels of an activation, on their own: [samples, positions, channels].
class ActivationBand {
 public:
  ActivationBand() = default;  // of nothing
  ActivationBand(const Tensor& activation, int64_t channels, int threads)
      : activation_(&activation), channels_(channels), threads_(threads) {}

  bool of(const Tensor& activation) const { return activation_ == &activation; }
  int64_t channels() const { return channels_; }
  size_t bytes(int64_t samples) const;
  // From `whole`, which has the shape of that activation: samples first.., channels channel...
  void gather(const Memory& memory, const Tensor& whole, int64_t first, int64_t samples, int64_t channel, std::byte* band) const;
  void spread(const Memory& memory, int64_t first, int64_t samples, int64_t channel, const std::byte* band) const;

 private:
  int64_t rows_of_sample() const { return activation_->elements() / activation_->shape.back() / activation_->shape.front(); }
  int64_t row_bytes() const { return channels_ * element_bytes(activation_->type); }
  template <class Visit>
  void for_each_row(const Memory& memory, const Tensor& whole, int64_t first, int64_t samples, int64_t channel, const Visit& visit) const;

  const Tensor* activation_ = nullptr;
  int64_t channels_ = 0;
  int threads_ = 1;
};

}  // namespace kw::cpu
