#include "cpu/simd/depthwise_kernels.h"

#include "cpu/simd/vectors.h"

namespace kw::cpu::KW_SIMD_NAMESPACE {

namespace {

// A few channels at a time, or one where they do not fill a vector.
struct Lanes {
  static constexpr int kCount = kLanes;
  using Value = Vector;
  static Value read(const float* from) { return load(from); }
  static Value read(const uint16_t* from) {
    const Halves halves = *reinterpret_cast<const UnalignedHalves*>(from);
    return reinterpret_cast<Value>(__builtin_convertvector(halves, Words) << 16);
  }
  static void write(float* to, Value value) { store(to, value); }
  static void write(uint16_t* to, Value value) { store(to, value); }
  static Value limited(Value value, float least, float most) {
    const Value low = Value{} + least, high = Value{} + most;
    value = low > value ? low : value;  // in this order a NaN passes
    return high < value ? high : value;
  }
};

struct Single {
  static constexpr int kCount = 1;
  using Value = float;
  static Value read(const float* from) { return *from; }
  static Value read(const uint16_t* from) { return __builtin_bit_cast(float, static_cast<uint32_t>(*from) << 16); }
  static void write(float* to, Value value) { *to = value; }
  static void write(uint16_t* to, Value value) {
    const uint32_t word = __builtin_bit_cast(uint32_t, value);
    *to = static_cast<uint16_t>((word + 0x7fff + (word >> 16 & 1)) >> 16);
  }
  static Value limited(Value value, float least, float most) {
    value = least > value ? least : value;
    return most < value ? most : value;
  }
};

// kVectors times Pack::kCount channels from `channel` on, of kColumns result columns.
template <class T, class Pack, int kColumns, int kVectors>
void convolve(const DepthwiseRow& row, const DepthwiseColumns& columns, int64_t channel) {
  using Value = typename Pack::Value;
  const int64_t channels = row.channels;
  const T* source = static_cast<const T*>(row.source) + channel;
  const float* weight = row.weight + channel;
  Value sums[kColumns][kVectors] = {};
  for (const DepthwiseTap* r = row.rows; r != row.rows + row.row_count; ++r) {
    const T* source_row = source + r->source * row.source_columns * channels;
    const float* weight_row = weight + r->kernel * row.kernel_columns * channels;
    const DepthwiseTap* taps = row.column_taps + columns.first_tap;
    for (const DepthwiseTap* c = taps; c != taps + columns.taps; ++c) {
      const T* from = source_row + c->source * channels;
      const float* w = weight_row + c->kernel * channels;
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const Value factor = Pack::read(w + v * Pack::kCount);
#pragma GCC unroll 4
        for (int j = 0; j < kColumns; ++j) sums[j][v] += Pack::read(from + j * row.source_step * channels + v * Pack::kCount) * factor;
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kColumns; ++j) {
    const int64_t at = (columns.column + j * row.column_step) * channels + channel;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const int64_t c = channel + v * Pack::kCount;
      Value value = sums[j][v];
      if (row.factor) {
        value = value * Pack::read(row.factor + c) + Pack::read(row.shift + c);
        if (row.residual) value += Pack::read(static_cast<const T*>(row.residual) + at + v * Pack::kCount);
        value = Pack::limited(value, row.least, row.most);
        if (row.sums) Pack::write(row.sums + c, Pack::read(row.sums + c) + value);
      }
      Pack::write(static_cast<T*>(row.y) + at + v * Pack::kCount, value);
    }
  }
}

// Channels outermost, so that a few channels' weights stay in the first-level cache for the whole row.
template <class T, class Pack, int kVectors>
int64_t convolve_channels(const DepthwiseRow& row, int64_t channel) {
  constexpr int kStep = kVectors * Pack::kCount;
  for (; channel + kStep <= row.channels; channel += kStep) {
    for (const DepthwiseColumns* columns = row.columns; columns != row.columns + row.column_count; ++columns) {
      if (columns->several) {
        convolve<T, Pack, kDepthwiseColumns, kVectors>(row, *columns, channel);
      } else {
        convolve<T, Pack, 1, kVectors>(row, *columns, channel);
      }
    }
  }
  return channel;
}

template <class T>
void compute_row(const DepthwiseRow& row) {
  int64_t channel = convolve_channels<T, Lanes, 2>(row, 0);
  channel = convolve_channels<T, Lanes, 1>(row, channel);
  convolve_channels<T, Single, 1>(row, channel);
}

template <class T, class Pack, int kVectors>
int64_t multiply_channels(const DepthwiseProduct& product, int64_t channel, int64_t end) {
  using Value = typename Pack::Value;
  constexpr int kStep = kVectors * Pack::kCount;
  for (; channel + kStep <= end; channel += kStep) {
    const T* x = static_cast<const T*>(product.x) + product.first_x * product.channels + channel;
    const T* dy = static_cast<const T*>(product.dy) + product.first_dy * product.channels + channel;
    Value sums[kVectors] = {};
    for (int64_t i = 0; i < product.count; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[v] += Pack::read(x + v * Pack::kCount) * Pack::read(dy + v * Pack::kCount);
      x += product.step * product.channels;
      dy += product.channels;
    }
    for (int v = 0; v < kVectors; ++v) {
      float* to = product.dweight + channel + v * Pack::kCount;
      Pack::write(to, Pack::read(to) + sums[v]);
    }
  }
  return channel;
}

template <class T>
void compute_product(const DepthwiseProduct& product) {
  const int64_t end = product.first_channel + product.channel_count;
  int64_t channel = multiply_channels<T, Lanes, 4>(product, product.first_channel, end);
  channel = multiply_channels<T, Lanes, 1>(product, channel, end);
  multiply_channels<T, Single, 1>(product, channel, end);
}

}  // namespace

const DepthwiseKernels& depthwise_kernels() {
  static constexpr DepthwiseKernels kernels = {compute_row<float>, compute_row<uint16_t>, compute_product<float>,
                                               compute_product<uint16_t>};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
