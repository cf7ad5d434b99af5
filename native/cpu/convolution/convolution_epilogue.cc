#include "cpu/convolution/convolution_epilogue.h"

#include <algorithm>
#include <limits>
#include <string>

#include "cpu/parallel.h"
#include "cpu/wide.h"

namespace kw::cpu {

namespace {

// Sums over more rows than this are sums of sums, which keeps their rounding errors small.
constexpr int64_t kRowsOfRun = 64;

template <class T, bool kResidual, bool kSums>
KW_WIDE void finish_row(const Epilogue& epilogue, Bounds bounds, const float* x, const T* residual, T* y, float* sums) {
  const float *factor = epilogue.factor, *shift = epilogue.shift;
#pragma omp simd
  for (int64_t c = 0; c < epilogue.channels; ++c) {
    float value = x[c] * factor[c] + shift[c];
    if constexpr (kResidual) value += static_cast<float>(residual[c]);
    value = limited(value, bounds);
    const T stored = static_cast<T>(value);
    if constexpr (kSums) sums[c] += static_cast<float>(stored);
    y[c] = stored;
  }
}

template <class T>
KW_WIDE void add_to(const T* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] += static_cast<float>(from[i]);
}

// Calls row(index, sums of its run) for one thread's rows; `sums` [2][channels] begins with the totals afterwards.
template <class Row>
void sum_rows(int64_t rows, int64_t channels, float* sums, const Row& row) {
  float* run = sums + channels;
  std::fill(sums, sums + channels, 0.0f);
  for (int64_t first = 0; first < rows; first += kRowsOfRun) {
    std::fill(run, run + channels, 0.0f);
    for (int64_t index = first; index < std::min(first + kRowsOfRun, rows); ++index) row(index, run);
    add_to(run, channels, sums);
  }
}

int64_t parts_of(int threads, int64_t rows, int64_t channels) { return std::clamp<int64_t>(rows / rows_per_thread(channels), 1, threads); }

// Of the parts' sums, each [2][channels].
void means_of(float* sums, int64_t parts, int64_t rows, int64_t channels, float* means) {
  for (int64_t part = 1; part < parts; ++part) add_to(sums + part * 2 * channels, channels, sums);
  for (int64_t c = 0; c < channels; ++c) means[c] = sums[c] / static_cast<float>(rows);
}

template <class T>
void finish_all(int threads, const Epilogue& epilogue, const float* x, int64_t rows, const T* residual, T* y, float* means,
                std::byte* scratch) {
  const Bounds bounds = bounds_of(epilogue.activation);
  const int64_t channels = epilogue.channels;
  const int64_t parts = parts_of(threads, rows, channels);
  auto* sums = reinterpret_cast<float*>(scratch);
  parallel_for(threads, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = range_begin(rows, parts, part), count = range_begin(rows, parts, part + 1) - first;
      const auto at = [&](auto* data, int64_t row) { return data + (first + row) * channels; };
      if (means) {
        sum_rows(count, channels, sums + part * 2 * channels, [&](int64_t row, float* run) {
          residual ? finish_row<T, true, true>(epilogue, bounds, at(x, row), at(residual, row), at(y, row), run)
                   : finish_row<T, false, true>(epilogue, bounds, at(x, row), nullptr, at(y, row), run);
        });
        continue;
      }
      for (int64_t row = 0; row < count; ++row) {
        residual ? finish_row<T, true, false>(epilogue, bounds, at(x, row), at(residual, row), at(y, row), nullptr)
                 : finish_row<T, false, false>(epilogue, bounds, at(x, row), nullptr, at(y, row), nullptr);
      }
    }
  });
  if (means) means_of(sums, parts, rows, channels, means);
}

template <class T>
void means_of_rows(int threads, const T* y, int64_t rows, int64_t channels, float* means, std::byte* scratch) {
  const int64_t parts = parts_of(threads, rows, channels);
  auto* sums = reinterpret_cast<float*>(scratch);
  parallel_for(threads, parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = range_begin(rows, parts, part);
      sum_rows(range_begin(rows, parts, part + 1) - first, channels, sums + part * 2 * channels,
               [&](int64_t row, float* run) { add_to(y + (first + row) * channels, channels, run); });
    }
  });
  means_of(sums, parts, rows, channels, means);
}

KW_WIDE void widen_range(const bfloat16* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = from[i];
}

KW_WIDE void narrow_range(const float* from, int64_t count, bfloat16* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<bfloat16>(from[i]);
}

KW_WIDE void round_range(const float* from, int64_t count, float* to) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = kept_by_bfloat16(from[i]);
}

}  // namespace

void round_to_bfloat16(const float* from, int64_t count, float* to) { round_range(from, count, to); }

void finish(int threads, const Epilogue& epilogue, const float* x, int64_t rows, DataType type, const void* residual, void* y, float* means,
            std::byte* scratch) {
  if (type == DataType::bfloat16) {
    finish_all(threads, epilogue, x, rows, static_cast<const bfloat16*>(residual), static_cast<bfloat16*>(y), means, scratch);
  } else {
    finish_all(threads, epilogue, x, rows, static_cast<const float*>(residual), static_cast<float*>(y), means, scratch);
  }
}

void channel_means(int threads, const void* y, DataType type, int64_t rows, int64_t channels, float* means, std::byte* scratch) {
  if (type == DataType::bfloat16) {
    means_of_rows(threads, static_cast<const bfloat16*>(y), rows, channels, means, scratch);
  } else {
    means_of_rows(threads, static_cast<const float*>(y), rows, channels, means, scratch);
  }
}

size_t finish_scratch_bytes(int threads, int64_t channels) { return static_cast<size_t>(threads * 2 * channels) * sizeof(float); }

void widen(int threads, const bfloat16* from, int64_t count, float* to) {
  parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { widen_range(from + begin, end - begin, to + begin); });
}

void narrow(int threads, const float* from, int64_t count, bfloat16* to) {
  parallel_for(threads, count, kElementsPerThread,
               [=](int64_t begin, int64_t end) { narrow_range(from + begin, end - begin, to + begin); });
}

void round_to_bfloat16(int threads, const float* from, int64_t count, float* to) {
  parallel_for(threads, count, kElementsPerThread, [=](int64_t begin, int64_t end) { round_range(from + begin, end - begin, to + begin); });
}

}  // namespace kw::cpu
