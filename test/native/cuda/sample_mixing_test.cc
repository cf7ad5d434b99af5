// A kernel with everything that kernels have, against the plain sum.
#include "sample_mixing.cuh"

#include "kernel_test.h"

namespace kw::cuda::test {
namespace {

struct Case {
  int rows;
  int count;
  int columns;
};

template <Mistake kMistake>
std::vector<float> run(const Case& size, const std::vector<bfloat16>& attention, const std::vector<bfloat16>& cells) {
  const DeviceArray<bfloat16> attention_on_device(attention);
  const DeviceArray<bfloat16> cells_on_device(cells);
  DeviceArray<float> weights(static_cast<std::size_t>(size.rows * size.columns));
  const int stride = device::ceil_divide(size.count, 8) * 8;
  const dim3 grid(static_cast<unsigned>(device::ceil_divide(size.columns, kSampleColumns)),
                  static_cast<unsigned>(device::ceil_divide(size.rows, kSampleRows)));
  launch(sample_mixing<kMistake>, grid, dim3(kSampleThreads), kSampleSharedBytes, nullptr,
         SampleMixing{attention_on_device.data(), cells_on_device.data(), weights.data(), size.rows, size.count, stride, size.columns});
  return weights.values();
}

std::vector<bfloat16> make_attention(const Case& size) {
  const int stride = device::ceil_divide(size.count, 8) * 8;
  std::vector<float> values = random_floats(static_cast<std::size_t>(size.rows * stride), 1);
  for (int row = 0; row < size.rows; ++row) {
    for (int j = size.count; j < stride; ++j) values[static_cast<std::size_t>(row * stride + j)] = 0;
  }
  return to_bfloat16s(values);
}

std::vector<bfloat16> make_cells(const Case& size) {
  return to_bfloat16s(random_floats(static_cast<std::size_t>(size.count * size.columns), 2));
}

std::vector<double> reference(const Case& size, const std::vector<bfloat16>& attention, const std::vector<bfloat16>& cells) {
  const std::size_t columns = static_cast<std::size_t>(size.columns);
  const std::size_t stride = static_cast<std::size_t>(device::ceil_divide(size.count, 8) * 8);
  std::vector<double> weights(static_cast<std::size_t>(size.rows) * columns);
  for (std::size_t row = 0; row < static_cast<std::size_t>(size.rows); ++row) {
    for (std::size_t j = 0; j < static_cast<std::size_t>(size.count); ++j) {
      const double factor = device::to_float(attention[row * stride + j]);
      for (std::size_t column = 0; column < columns; ++column)
        weights[row * columns + column] += factor * device::to_float(cells[j * columns + column]);
    }
  }
  return weights;
}

TEST_CASE("The sample kernel mixes, with the same bits in every schedule") {
  for (const Case size : {Case{1, 1, 8}, Case{33, 47, 72}, Case{64, 100, 128}}) {
    CAPTURE(size.rows);
    const auto attention = make_attention(size);
    const auto cells = make_cells(size);
    const auto weights = same_in_every_schedule<float>([&] { return run<Mistake::none>(size, attention, cells); });
    CHECK(relative_error(weights, reference(size, attention, cells)) < 1e-6);
  }
}

}  // namespace
}  // namespace kw::cuda::test
