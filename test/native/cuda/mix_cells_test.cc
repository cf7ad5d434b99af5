// Mixing and its gradients on the device as on the CPU: cells of whole kernels and of positions, aligned for the fast kernels and not.
#include "compare.h"

namespace kw::test {
namespace {

struct Case {
  std::string name;
  int64_t samples;
  Shape weight;  // [O,kh,kw,I]
  Shape cells;   // [n,fe,keh,kew,ce]

  int64_t mixtures() const { return size_of(weight) * cells[0] / size_of(cells); }
  Shape attention() const { return {samples, mixtures(), cells[0]}; }
  Shape weights() const { return {samples, weight[0], weight[1], weight[2], weight[3]}; }
  nlohmann::json attributes() const {
    return {{"outChannels", weight[0]}, {"inChannels", weight[3]}, {"kernel", {weight[1], weight[2]}}, {"cellShape", cells}};
  }
};

const Case kCases[] = {
    {"pointwise", 3, {16, 1, 1, 16}, {5, 8, 1, 1, 8}},
    {"pointwise, more rows and elements than a tile", 9, {64, 1, 1, 96}, {21, 16, 1, 1, 24}},
    {"3x3 of positions", 2, {16, 3, 3, 8}, {7, 8, 1, 1, 8}},
    {"3x3 of whole kernels", 2, {8, 3, 3, 16}, {3, 4, 3, 3, 8}},
    {"3x3 of rows", 1, {8, 3, 3, 8}, {4, 8, 1, 3, 4}},
    {"odd channels", 2, {5, 3, 3, 3}, {3, 5, 1, 1, 3}},
    {"one channel", 3, {67, 5, 5, 1}, {4, 67, 5, 5, 1}},
    {"one channel, positions", 3, {6, 3, 3, 1}, {4, 3, 1, 1, 1}},
    {"one cell of one element", 1, {1, 1, 1, 1}, {1, 1, 1, 1, 1}},
    {"one element, odd", 5, {7, 1, 1, 9}, {9, 1, 1, 1, 3}},
    {"many cells", 2, {8, 1, 1, 8}, {130, 4, 1, 1, 8}},
    {"many cells and samples of few elements", 70, {4, 1, 1, 8}, {66, 2, 1, 1, 4}},
    {"a sum over more elements than one block takes", 1, {64, 1, 1, 64}, {2, 64, 1, 1, 64}},
};

// The CPU sums in another order.
constexpr double kTolerance = 1e-5;
// Ten bits of mantissa, two factors.
constexpr double kTf32Tolerance = 5e-3;

void check_all(const Case& c, Device& device, double tolerance) {
  CAPTURE(c.name);
  const Floats attention = random_floats(size_of(c.attention()), 1), cells = random_floats(size_of(c.cells), 2);
  const Floats dweights = random_floats(size_of(c.weights()), 3);
  for (const int64_t offset : {0, 4}) {
    CAPTURE(offset);
    const auto op = [&](const char* name) {
      OpRunner runner(name, c.attributes());
      runner.at_offset(offset);
      return runner;
    };
    check_on_gpu(op("mix_cells").input(c.attention(), attention).input(c.cells, cells).output(c.weights()), tolerance, device);
    check_on_gpu(op("mix_cells_backward_attention").input(c.weights(), dweights).input(c.cells, cells).output(c.attention()), tolerance,
                 device);
    check_on_gpu(op("mix_cells_backward_cells").input(c.weights(), dweights).input(c.attention(), attention).output(c.cells), tolerance,
                 device);
  }
}

TEST_CASE("mixing on the device") {
  for (const Case& c : kCases) check_all(c, gpu(), kTolerance);
}

TEST_CASE("mixing on the device in TF32") {
  Device device("test", cuda::open_backend({.tf32 = true}));
  for (const Case& c : {kCases[1], kCases[3], kCases[5]}) check_all(c, device, kTf32Tolerance);
}

TEST_CASE("mixing on the device passes NaN and infinity on, and nowhere else") {
  const Case& c = kCases[1];
  Floats attention = random_floats(size_of(c.attention()), 1), cells = random_floats(size_of(c.cells), 2);
  attention[7] = NAN;
  cells[11] = HUGE_VALF;
  check_on_gpu(OpRunner("mix_cells", c.attributes()).input(c.attention(), attention).input(c.cells, cells).output(c.weights()), kTolerance);
}

TEST_CASE("what cannot be mixed is refused on the device") {
  const Case& c = kCases[0];
  const Floats attention(static_cast<size_t>(size_of(c.attention()))), cells(static_cast<size_t>(size_of(c.cells)));
  const Shape odd = {5, 8, 1, 1, 3}, few = {2, 4, 5};
  check_refused_as_on_cpu(
      OpRunner("mix_cells", c.attributes()).input(c.attention(), attention).input(odd, Floats(120)).output(c.weights()));
  check_refused_as_on_cpu(OpRunner("mix_cells", c.attributes()).input(few, Floats(40)).input(c.cells, cells).output(c.weights()));
  check_refused_as_on_cpu(OpRunner("mix_cells", c.attributes()).input({0, 4, 5}, Floats()).input(c.cells, cells).output({0, 16, 1, 1, 16}));
  check_refused_as_on_cpu(OpRunner("mix_cells_backward_attention", c.attributes())
                              .input({3, 16, 1, 1, 8}, Floats(384))
                              .input(c.cells, cells)
                              .output(c.attention()));
  check_refused_as_on_cpu(
      OpRunner("mix_cells_backward_cells", c.attributes()).input(c.weights(), Floats(768)).input(few, Floats(40)).output(c.cells));
}

}  // namespace
}  // namespace kw::test
