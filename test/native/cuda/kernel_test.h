// What tests of kernels share: memory of the device, and running a kernel in every schedule.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "cuda/check.h"
#include "cuda/kernels/primitives.cuh"
#include "cuda/launch.h"
#ifdef KW_EMULATOR
#include "emulator/options.h"
#endif

namespace kw::cuda::test {

using device::bfloat16;

/** An array in the device's memory, in an allocation of its own, so that every access beside it is found. */
template <class T>
class DeviceArray {
 public:
  /** `count` undefined elements. */
  explicit DeviceArray(std::size_t count) : count_(count) { check(cudaMalloc(&data_, count * sizeof(T)), "allocating a test's array"); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "filling a test's array");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return count_; }

  /** Waits for the device, and copies the elements. Throws kw::Error when a kernel has failed. */
  std::vector<T> values() const {
    check(cudaDeviceSynchronize(), "waiting for the kernel");
    std::vector<T> values(count_);
    check(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost), "reading a test's array");
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t count_;
};

/** Numbers between -1 and 1, the same in every run. */
inline std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator() >> 8) * 0x1p-23f - 1.0f;
  return values;
}

inline std::vector<bfloat16> to_bfloat16s(const std::vector<float>& values) {
  std::vector<bfloat16> rounded;
  for (const float value : values) rounded.push_back(device::to_bfloat16(value));
  return rounded;
}

inline std::vector<float> to_floats(const std::vector<float>& values) { return values; }
inline std::vector<float> to_floats(const std::vector<bfloat16>& values) {
  std::vector<float> wide;
  for (const bfloat16 value : values) wide.push_back(device::to_float(value));
  return wide;
}

/** The difference's length over the expected length; NaN where something is NaN. */
template <class T>
double relative_error(const std::vector<T>& actual, const std::vector<double>& expected) {
  REQUIRE(actual.size() == expected.size());
  const std::vector<float> values = to_floats(actual);
  double difference = 0;
  double length = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (values[i] - expected[i]) * (values[i] - expected[i]);
    length += expected[i] * expected[i];
  }
  return length > 0 ? std::sqrt(difference / length) : std::sqrt(difference);
}

/** Calls `body` once for each order of threads and moment of copies that the emulator knows; on a device twice. */
inline void in_every_schedule(const std::function<void()>& body) {
#ifdef KW_EMULATOR
  using emulator::Moment;
  using emulator::Schedule;
  struct Mode {
    const char* name;
    Schedule schedule;
    Moment copies;
  };
  const Mode modes[] = {{"forward, late copies", Schedule::forward, Moment::late},
                        {"reverse, late copies", Schedule::reverse, Moment::late},
                        {"random, late copies", Schedule::random, Moment::late},
                        {"forward, early copies", Schedule::forward, Moment::early},
                        {"random, early copies", Schedule::random, Moment::early}};
  const emulator::Options before = emulator::options();
  for (const Mode& mode : modes) {
    INFO("schedule: ", mode.name);
    emulator::options().schedule = mode.schedule;
    emulator::options().copies = mode.copies;
    body();
  }
  emulator::options() = before;
#else
  body();
  body();
#endif
}

/** Runs `body`, which gives a kernel's result, in every schedule; requires the same bits each time and gives them. */
template <class T>
std::vector<T> same_in_every_schedule(const std::function<std::vector<T>()>& body) {
  std::vector<T> first;
  bool has_first = false;
  in_every_schedule([&] {
    std::vector<T> result = body();
    if (has_first) {
      REQUIRE(result.size() == first.size());
      CHECK(std::memcmp(result.data(), first.data(), result.size() * sizeof(T)) == 0);
    } else {
      first = std::move(result);
      has_first = true;
    }
  });
  return first;
}

}  // namespace kw::cuda::test
