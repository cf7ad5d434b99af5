// The mixing of cells into samples' weights on the GPU, and its gradients: what mix_cells and the mixed convolutions are made of
// (KernelWarehouse, section 3.2, equation 3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cuda/converted_copy.h"
#include "cuda/device.h"
#include "ops/mixing.h"
#include "runtime/backend.h"

namespace kw::cuda {

namespace device {
struct WeightPlaces;
}

// Samples' weights, or their gradients, in device memory: each sample's [O,kh,kw,I].
struct SampleWeights {
  std::byte* data;  // a multiple of the element's size; the fast kernels take multiples of 16
  int64_t stride;   // elements from one sample's weight to the next's
};

// Scratch, device memory at multiples of 64 bytes, comes from the caller; what is queued on the GPU's stream uses it in order. The same
// calls give the same bits.
class CellMixing {
 public:
  // For up to `samples` samples at once, of weights (and attention and cells in the products) of type `weights`. `unaligned`: weights may
  // lie anywhere, not only at multiples of 16 bytes.
  CellMixing(const Device& gpu, const KernelContext& context, const CellGrid& grid, int64_t samples, DataType weights, bool unaligned);

  // Keeps the step's input at `position`, cells [n,fe,keh,kew,ce], in the form of the products; needed by mix and backward_attention.
  void keep_cells(const KernelContext& context, const Tensor& cells);
  // That form: [n,fe*keh*kew*ce], rows filled up to 16 bytes with zeros.
  const std::byte* converted_cells() const { return cells_->data<std::byte>(); }

  // The attention [samples,m,n] in the form of the products, which mix and backward_cells read: rows filled up to 16 bytes with zeros.
  size_t attention_bytes(int64_t samples) const;
  void convert_attention(const float* attention, int64_t samples, std::byte* converted) const;
  // Of a sample within what convert_attention made.
  const std::byte* attention_of(const std::byte* converted, int64_t sample) const { return converted + attention_bytes(sample); }

  // The weights of `samples` samples from their converted attention.
  void mix(const std::byte* attention, int64_t samples, const SampleWeights& weights) const;

  // dattention [samples,m,n] = the gradient from that of the samples' weights.
  size_t attention_scratch_bytes() const;
  void backward_attention(const SampleWeights& dweights, int64_t samples, float* dattention, std::byte* scratch) const;

  // dcells [n,fe,keh,kew,ce] = (or +=) the gradient from that of the weights of all samples, which come part by part.
  struct CellGradient {
    float* dcells;
    bool accumulates;
    std::byte* scratch;  // the same for all parts, and untouched in between
  };
  struct Part {
    bool is_first, is_last;
  };
  size_t cell_scratch_bytes() const;
  void backward_cells(const std::byte* attention, const SampleWeights& dweights, int64_t samples, Part part,
                      const CellGradient& gradient) const;

 private:
  enum class Product { bfloat16, tf32, float32 };
  // How many partial sums a product is divided into, of `depth` indices each.
  struct Split {
    int count, depth;
  };

  Split split_of(int64_t tiles, int64_t total) const;
  Split attention_split(int64_t samples) const;
  Split cell_split() const;
  int64_t rows(int64_t samples) const { return samples * grid_.mixtures(); }
  // Of the converted attention and cells: 16-byte vectors throughout.
  int64_t padded(int64_t elements) const;
  device::WeightPlaces places(const SampleWeights& weights) const;
  template <class Launch>
  void with_product(const Launch& launch) const;

  const Device& gpu_;
  const CellGrid grid_;
  const int64_t samples_;
  const Product product_;
  const int64_t element_bytes_;
  std::shared_ptr<DeviceArray> mixture_offsets_;
  std::shared_ptr<DeviceArray> element_offsets_;  // where weights may be unaligned
  std::shared_ptr<DeviceArray> vector_offsets_;   // where 16 bytes of a cell stay together in the weight
  std::shared_ptr<ConvertedCopy> cells_;
};

}  // namespace kw::cuda
