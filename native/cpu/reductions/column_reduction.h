// Sums over the rows of a [rows, channels] matrix, several for each channel in one pass. Short runs of rows are added in float, vectorised
// over channels; runs are added in double. The parts and their order depend on the shape only: the same bits on any number of threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cpu/parallel.h"
#include "ops/checks.h"

namespace kw::cpu {

template <int kSums>
class ColumnReduction {
 public:
  ColumnReduction(Matrix matrix, int threads)
      : matrix_(matrix), sums_(kSums * matrix.channels), parts_(reduction_parts(matrix.rows, matrix.channels)), threads_(threads) {}

  // Scratch that run() uses, from its start; a multiple of 64.
  size_t scratch_bytes() const { return (static_cast<size_t>(parts_ * sums_) * (sizeof(double) + sizeof(float)) + 63) / 64 * 64; }

  // Calls block(first_row, last_row, runs, totals) for every run of rows: it adds its rows into `runs` [kSums][channels], zeroed before,
  // and then `runs` into `totals` [kSums][channels] (add_run, or a formula of its own). Returns the totals over all rows, in scratch.
  template <class Block>
  const double* run(std::byte* scratch, const Block& block) const {
    double* totals = reinterpret_cast<double*>(scratch);
    float* runs = reinterpret_cast<float*>(totals + parts_ * sums_);
    parallel_for(threads_, parts_, 1, [&](int64_t first_part, int64_t last_part) {
      for (int64_t part = first_part; part < last_part; ++part) {
        double* part_totals = totals + part * sums_;
        float* part_runs = runs + part * sums_;
        std::fill_n(part_totals, sums_, 0.0);
        const int64_t last_row = range_begin(matrix_.rows, parts_, part + 1);
        for (int64_t row = range_begin(matrix_.rows, parts_, part); row < last_row; row += kRunRows) {
          std::fill_n(part_runs, sums_, 0.0f);
          block(row, std::min(row + kRunRows, last_row), part_runs, part_totals);
        }
      }
    });
    parallel_for(threads_, sums_, std::max<int64_t>(1, kElementsPerThread / parts_), [&](int64_t begin, int64_t end) {
      for (int64_t part = 1; part < parts_; ++part) {
        const double* part_totals = totals + part * sums_;
        for (int64_t sum = begin; sum < end; ++sum) totals[sum] += part_totals[sum];
      }
    });
    return totals;
  }

  void add_run(const float* runs, double* totals) const {
    for (int64_t sum = 0; sum < sums_; ++sum) totals[sum] += runs[sum];
  }

 private:
  static constexpr int64_t kRunRows = 32;

  Matrix matrix_;
  int64_t sums_;
  int64_t parts_;
  int threads_;
};

}  // namespace kw::cpu
