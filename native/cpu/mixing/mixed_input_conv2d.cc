#include "cpu/mixing/mixed_input_conv2d.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>

#include "cpu/onednn.h"
#include "cpu/parallel.h"
#include "cpu/wide.h"

namespace kw::cpu {

namespace {

// How much cheaper an operation of a large matrix product is than one of mixing and of many small convolutions; measured on AVX2.
constexpr double kProductAdvantage = 1.5;

// Products of fewer rows than that, for each thread, cost what it costs to read the cells.
constexpr int64_t kFewRows = 16;

// to += alpha * from
KW_WIDE void add_scaled(float alpha, const float* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t c = 0; c < count; ++c) to[c] += alpha * from[c];
}

KW_WIDE float dot(const float* a, const float* b, int64_t count) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t c = 0; c < count; ++c) sum += a[c] * b[c];
  return sum;
}

struct MixedInput {
  ConvolutionGeometry geometry;
  CellGrid grid;
  int threads;

  int64_t positions() const { return product(geometry.out_size); }
  int64_t rows() const { return geometry.batch * positions(); }
  int64_t out_cells() const { return grid.out_channels / grid.cell_out; }
  int64_t in_cells() const { return grid.in_channels / grid.cell_in; }
  int64_t mixed_elements() const { return rows() * grid.cell_in; }
  // Of one thread's u or du.
  size_t mixed_bytes() const { return (static_cast<size_t>(mixed_elements()) * sizeof(float) + 63) / 64 * 64; }

  // Calls body(x offset, attention offset) for every window position of output `row` and input cell whose input lies inside the image: x at
  // the first of the cell's channels, attention at mixture (position, out_cell, in cell) and cell 0.
  template <class Body>
  void for_each_window(int64_t row, int64_t out_cell, const Body& body) const {
    const auto& g = geometry;
    const int64_t sample = row / positions(), position = row % positions();
    const int64_t top = position / g.out_size[1] * g.stride[0] - g.padding[0];
    const int64_t left = position % g.out_size[1] * g.stride[1] - g.padding[1];
    const int64_t attention = sample * grid.mixtures() * grid.cells;
    for (int64_t p = 0; p < g.kernel[0]; ++p) {
      const int64_t h = top + p * g.dilation[0];
      if (h < 0 || h >= g.size[0]) continue;
      for (int64_t q = 0; q < g.kernel[1]; ++q) {
        const int64_t w = left + q * g.dilation[1];
        if (w < 0 || w >= g.size[1]) continue;
        const int64_t x = ((sample * g.size[0] + h) * g.size[1] + w) * g.in_channels;
        const int64_t mixture = ((p * g.kernel[1] + q) * out_cells() + out_cell) * in_cells();
        for (int64_t in = 0; in < in_cells(); ++in) body(x + in * grid.cell_in, attention + (mixture + in) * grid.cells);
      }
    }
  }

  // u_j of one output cell, [rows, cell_in], of rows begin..end.
  void mix_input(const float* x, const float* attention, int64_t cell, int64_t out_cell, int64_t begin, int64_t end, float* mixed) const {
    const int64_t channels = grid.cell_in;
    for (int64_t row = begin; row < end; ++row) {
      float* to = mixed + (row - begin) * channels;
      std::fill(to, to + channels, 0.0f);
      for_each_window(row, out_cell, [&](int64_t from, int64_t weight) { add_scaled(attention[weight + cell], x + from, channels, to); });
    }
  }

  // The gradient of u_j: dy times the cell, [rows, cell_in], for channels begin..end: dmixed [rows, end - begin].
  dnnl_status_t mixed_gradient(const float* dy, const float* cells, int64_t cell, int64_t out_cell, int64_t begin, int64_t end,
                               float* dmixed) const {
    return dnnl_sgemm('N', 'N', rows(), end - begin, grid.cell_out, 1.0f, dy + out_cell * grid.cell_out, grid.out_channels,
                      cells + cell * grid.cell_elements() + begin, grid.cell_in, 0.0f, dmixed, end - begin);
  }

  size_t all_mixed_bytes() const { return static_cast<size_t>(threads) * mixed_bytes(); }

  // Calls body(part, begin, end) on a range of 0..count for each thread, once: a region for every cell would be many short ones. Products
  // within it run on one thread. The body returns oneDNN's status.
  template <class Body>
  void divide(int64_t count, const Body& body) const {
    std::atomic<dnnl_status_t> worst = dnnl_success;
    const auto parts = static_cast<int>(std::min<int64_t>(threads, count));
#pragma omp parallel for num_threads(parts) schedule(static)
    for (int part = 0; part < parts; ++part) {
      const ThreadLimit limit(1);
      const dnnl_status_t status = body(part, range_begin(count, parts, part), range_begin(count, parts, part + 1));
      if (status != dnnl_success) worst = status;
    }
    check_onednn("a product with a cell", worst);
  }
  template <class Body>
  dnnl_status_t for_each_cell(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t cell = begin; cell < end; ++cell) {
      for (int64_t out_cell = 0; out_cell < out_cells(); ++out_cell) {
        const dnnl_status_t status = body(cell, out_cell);
        if (status != dnnl_success) return status;
      }
    }
    return dnnl_success;
  }
};

class MixedInputForward final : public Kernel {
 public:
  MixedInputForward(const MixedConvolutionStep& step, const KernelContext& context)
      : mixed_{step.geometry, step.grid, context.threads},
        x_(step.x),
        attention_(step.attention),
        cells_(step.cells),
        bias_(step.bias),
        y_(step.y) {
    size_t bytes = mixed_.all_mixed_bytes();
    if (step.epilogue) {
      epilogue_.emplace(*step.epilogue);
      bytes += unfinished_bytes() + epilogue_->scratch_bytes() + finish_scratch_bytes(mixed_.threads, mixed_.grid.out_channels);
    }
    context.reserve_scratch(bytes);
  }

  void run(const Memory& memory) override {
    const CellGrid& grid = mixed_.grid;
    // The residual may lie in y's memory, so y is written last.
    std::byte* unfinished = memory.scratch() + mixed_.all_mixed_bytes();
    auto* y = epilogue_ ? reinterpret_cast<float*>(unfinished) : memory.data<float>(y_);
    if (bias_) {
      const auto* bias = memory.data<float>(*bias_);
      for (int64_t row = 0; row < mixed_.rows(); ++row) std::copy(bias, bias + grid.out_channels, y + row * grid.out_channels);
    }
    // By rows; few rows by the channels that they become, so that no cell is read by two threads.
    const bool few = mixed_.rows() < kFewRows * mixed_.threads;
    mixed_.divide(few ? grid.cell_out : mixed_.rows(), [&](int part, int64_t begin, int64_t end) {
      auto* u = reinterpret_cast<float*>(memory.scratch() + static_cast<size_t>(part) * mixed_.mixed_bytes());
      const int64_t row = few ? 0 : begin, rows = few ? mixed_.rows() : end - begin;
      const int64_t channel = few ? begin : 0, channels = few ? end - begin : grid.cell_out;
      return mixed_.for_each_cell(0, grid.cells, [&](int64_t cell, int64_t out_cell) {
        mixed_.mix_input(memory.data<float>(x_), memory.data<float>(attention_), cell, out_cell, row, row + rows, u);
        return dnnl_sgemm('N', 'T', rows, channels, grid.cell_in, 1.0f, u, grid.cell_in,
                          memory.data<float>(cells_) + cell * grid.cell_elements() + channel * grid.cell_in, grid.cell_in,
                          cell > 0 || bias_ ? 1.0f : 0.0f, y + row * grid.out_channels + out_cell * grid.cell_out + channel,
                          grid.out_channels);
      });
    });
    if (epilogue_) finish_samples(memory, y, unfinished + unfinished_bytes());
  }

 private:
  size_t unfinished_bytes() const { return (static_cast<size_t>(y_.elements()) * sizeof(float) + 63) / 64 * 64; }

  void finish_samples(const Memory& memory, const float* y, std::byte* scratch) const {
    const Epilogue epilogue = epilogue_->prepare(memory, scratch);
    scratch += epilogue_->scratch_bytes();
    const int64_t stride = mixed_.positions() * mixed_.grid.out_channels;
    for (int64_t sample = 0; sample < mixed_.geometry.batch; ++sample) {
      const auto of_sample = [&](const Tensor* tensor, int64_t elements) {
        return tensor ? memory.data<float>(*tensor) + sample * elements : nullptr;
      };
      finish(mixed_.threads, epilogue, y + sample * stride, mixed_.positions(), DataType::float32, of_sample(epilogue_->residual(), stride),
             of_sample(&y_, stride), of_sample(epilogue_->means(), mixed_.grid.out_channels), scratch);
    }
  }

  const MixedInput mixed_;
  const Tensor& x_;
  const Tensor& attention_;
  const Tensor& cells_;
  const Tensor* bias_;
  const Tensor& y_;
  std::optional<NormalizedEpilogue> epilogue_;
};

class MixedInputBackwardInput final : public Kernel {
 public:
  MixedInputBackwardInput(const MixedConvolutionStep& step, const KernelContext& context)
      : mixed_{step.geometry, step.grid, context.threads}, dy_(step.y), attention_(step.attention), cells_(step.cells), dx_(step.x) {
    context.reserve_scratch(mixed_.all_mixed_bytes());
  }

  void run(const Memory& memory) override {
    const CellGrid& grid = mixed_.grid;
    auto* dx = memory.data<float>(dx_);
    const auto* attention = memory.data<float>(attention_);
    std::memset(dx, 0, static_cast<size_t>(dx_.bytes()));
    // Each thread has channels of its own: windows overlap.
    mixed_.divide(grid.cell_in, [&](int part, int64_t begin, int64_t end) {
      auto* du = reinterpret_cast<float*>(memory.scratch() + static_cast<size_t>(part) * mixed_.mixed_bytes());
      return mixed_.for_each_cell(0, grid.cells, [&](int64_t cell, int64_t out_cell) {
        const auto status = mixed_.mixed_gradient(memory.data<float>(dy_), memory.data<float>(cells_), cell, out_cell, begin, end, du);
        for (int64_t row = 0; row < mixed_.rows(); ++row) {
          const float* source = du + row * (end - begin);
          mixed_.for_each_window(row, out_cell, [&](int64_t place, int64_t weight) {
            add_scaled(attention[weight + cell], source, end - begin, dx + place + begin);
          });
        }
        return status;
      });
    });
  }

 private:
  const MixedInput mixed_;
  const Tensor& dy_;
  const Tensor& attention_;
  const Tensor& cells_;
  const Tensor& dx_;
};

class MixedInputBackwardMixing final : public Kernel {
 public:
  MixedInputBackwardMixing(const MixedConv2dBackwardMixingStep& step, const KernelContext& context)
      : mixed_{step.geometry, step.grid, context.threads},
        x_(step.x),
        dy_(step.y),
        attention_(step.attention),
        cells_(step.cells),
        accumulate_(step.accumulates),
        dattention_(step.dattention),
        dcells_(step.dcells) {
    context.reserve_scratch(mixed_.all_mixed_bytes());
  }

  void run(const Memory& memory) override {
    const CellGrid& grid = mixed_.grid;
    const auto* x = memory.data<float>(x_);
    const auto* dy = memory.data<float>(dy_);
    auto* dattention = memory.data<float>(dattention_);
    // A mixture whose window never meets the image has no gradient.
    std::memset(dattention, 0, static_cast<size_t>(dattention_.bytes()));
    // Each thread has cells of its own, and with them their gradients and their columns of dattention.
    mixed_.divide(grid.cells, [&](int part, int64_t first, int64_t last) {
      auto* u = reinterpret_cast<float*>(memory.scratch() + static_cast<size_t>(part) * mixed_.mixed_bytes());
      return mixed_.for_each_cell(first, last, [&](int64_t cell, int64_t out_cell) {
        mixed_.mix_input(x, memory.data<float>(attention_), cell, out_cell, 0, mixed_.rows(), u);
        auto status = dnnl_sgemm('T', 'N', grid.cell_out, grid.cell_in, mixed_.rows(), 1.0f, dy + out_cell * grid.cell_out,
                                 grid.out_channels, u, grid.cell_in, accumulate_ || out_cell > 0 ? 1.0f : 0.0f,
                                 memory.data<float>(dcells_) + cell * grid.cell_elements(), grid.cell_in);
        if (status != dnnl_success) return status;
        float* du = u;  // which is done with
        status = mixed_.mixed_gradient(dy, memory.data<float>(cells_), cell, out_cell, 0, grid.cell_in, du);
        for (int64_t row = 0; row < mixed_.rows(); ++row) {
          const float* gradient = du + row * grid.cell_in;
          mixed_.for_each_window(
              row, out_cell, [&](int64_t place, int64_t weight) { dattention[weight + cell] += dot(gradient, x + place, grid.cell_in); });
        }
        return status;
      });
    });
  }

 private:
  const MixedInput mixed_;
  const Tensor& x_;
  const Tensor& dy_;
  const Tensor& attention_;
  const Tensor& cells_;
  const bool accumulate_;
  const Tensor& dattention_;
  const Tensor& dcells_;
};

}  // namespace

bool mixes_input(const ConvolutionGeometry& geometry, const CellGrid& grid) {
  if (geometry.groups != 1 || grid.cell_height != 1 || grid.cell_width != 1) return false;
  const auto positions = static_cast<double>(product(geometry.out_size));
  const auto cells = static_cast<double>(grid.cells);
  // Per output cell and element of a cell: one product for each cell and position, against mixing and convolving each mixture.
  const auto mixtures = static_cast<double>(grid.mixtures()) / static_cast<double>(grid.out_channels / grid.cell_out);
  // Mixing inputs costs 1 / cell_out of the products, and a product over few input channels is slow: only worth it for large cells.
  return grid.cell_out >= 32 && grid.cell_in >= 16 && cells * positions < kProductAdvantage * mixtures * (cells + positions);
}

std::unique_ptr<Kernel> mixed_input_forward(const MixedConvolutionStep& step, const KernelContext& context) {
  return std::make_unique<MixedInputForward>(step, context);
}

std::unique_ptr<Kernel> mixed_input_backward_input(const MixedConvolutionStep& step, const KernelContext& context) {
  return std::make_unique<MixedInputBackwardInput>(step, context);
}

std::unique_ptr<Kernel> mixed_input_backward_mixing(const MixedConv2dBackwardMixingStep& step, const KernelContext& context) {
  return std::make_unique<MixedInputBackwardMixing>(step, context);
}

}  // namespace kw::cpu
