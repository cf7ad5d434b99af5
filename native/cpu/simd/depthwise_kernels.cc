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
};

struct Single {
  static constexpr int kCount = 1;
  using Value = float;
  static Value read(const float* from) { return *from; }
  static Value read(const uint16_t* from) { return __builtin_bit_cast(float, static_cast<uint32_t>(*from) << 16); }
  static void write(float* to, Value value) { *to = value; }
};

// From `channel` on, as many times kVectors packs as there are; returns the channel after them.
template <class T, class Pack, int kVectors>
int64_t multiply(const DepthwiseProduct& product, int64_t channel) {
  constexpr int64_t kStep = kVectors * Pack::kCount;
  for (; channel + kStep <= product.first_channel + product.channel_count; channel += kStep) {
    const T* x = static_cast<const T*>(product.x) + product.first_x * product.channels + channel;
    const T* dy = static_cast<const T*>(product.dy) + product.first_dy * product.channels + channel;
    typename Pack::Value sums[kVectors] = {};
    for (int64_t i = 0; i < product.count; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[v] += Pack::read(x + v * Pack::kCount) * Pack::read(dy + v * Pack::kCount);
      x += product.step * product.channels;
      dy += product.channels;
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* to = product.dweight + channel + v * Pack::kCount;
      Pack::write(to, Pack::read(to) + sums[v]);
    }
  }
  return channel;
}

template <class T>
void multiply_channels(const DepthwiseProduct& product) {
  int64_t channel = multiply<T, Lanes, 4>(product, product.first_channel);
  channel = multiply<T, Lanes, 1>(product, channel);
  multiply<T, Single, 1>(product, channel);
}

}  // namespace

const DepthwiseKernels& depthwise_kernels() {
  static constexpr DepthwiseKernels kernels = {multiply_channels<float>, multiply_channels<uint16_t>};
  return kernels;
}

}  // namespace kw::cpu::KW_SIMD_NAMESPACE
