// Convolutions, mixing and their fusion on the CPU against naive double implementations: batches and threads that do and do not divide each
// other, activations of both types.
#include "convolution_reference.h"

#include <array>

namespace kw::test {
namespace {

TEST_CASE("mix_cells and its gradients") {
  for_each_case([](const Case& c, const Reference& r, int threads) {
    if (r.type != DataType::float32) return;  // these ops have no activations
    const auto a = attributes(c);
    const Floats dweight = narrow(r.dweight);
    check_near(OpRunner("mix_cells", a)
                   .input(r.shape_attention, r.attention)
                   .input(c.cell, r.cells)
                   .output(r.shape_weight)
                   .run_on(threads)
                   .floats(),
               r.weight);
    check_near(OpRunner("mix_cells_backward_attention", a)
                   .input(r.shape_weight, dweight)
                   .input(c.cell, r.cells)
                   .output(r.shape_attention)
                   .run_on(threads)
                   .floats(),
               r.dattention);
    check_near(OpRunner("mix_cells_backward_cells", a)
                   .input(r.shape_weight, dweight)
                   .input(r.shape_attention, r.attention)
                   .output(c.cell)
                   .run_on(threads)
                   .floats(),
               r.dcells);
  });
}

TEST_CASE("samplewise_conv2d and its gradients") {
  for_each_case([](const Case& c, const Reference& r, int threads) {
    const auto a = attributes(c);
    const Floats weight = narrow(r.weight);
    check_near(OpRunner("samplewise_conv2d", a)
                   .input(r.shape_x, r.x, r.type)
                   .input(r.shape_weight, weight)
                   .input({c.out}, r.bias)
                   .output(r.shape_y, r.type)
                   .run_on(threads)
                   .floats(),
               r.y, r.type);
    check_near(OpRunner("samplewise_conv2d_backward_input", a)
                   .input(r.shape_y, r.dy, r.type)
                   .input(r.shape_weight, weight)
                   .output(r.shape_x, r.type)
                   .run_on(threads)
                   .floats(),
               r.dx, r.type);
    check_near(OpRunner("samplewise_conv2d_backward_weight", a)
                   .input(r.shape_x, r.x, r.type)
                   .input(r.shape_y, r.dy, r.type)
                   .output(r.shape_weight)
                   .run_on(threads)
                   .floats(),
               r.dweight);
  });
}

TEST_CASE("mixed_conv2d and its gradients") {
  for_each_case([](const Case& c, const Reference& r, int threads) {
    const auto a = attributes(c);
    check_near(OpRunner("mixed_conv2d", a)
                   .input(r.shape_x, r.x, r.type)
                   .input(r.shape_attention, r.attention)
                   .input(c.cell, r.cells)
                   .input({c.out}, r.bias)
                   .output(r.shape_y, r.type)
                   .run_on(threads)
                   .floats(),
               r.y, r.type);
    check_near(OpRunner("mixed_conv2d_backward_input", a)
                   .input(r.shape_y, r.dy, r.type)
                   .input(r.shape_attention, r.attention)
                   .input(c.cell, r.cells)
                   .output(r.shape_x, r.type)
                   .run_on(threads)
                   .floats(),
               r.dx, r.type);
    OpRunner alone("mixed_conv2d_backward_mixing", a);
    alone.input(r.shape_x, r.x, r.type).input(r.shape_y, r.dy, r.type).input(r.shape_attention, r.attention).input(c.cell, r.cells);
    alone.output(r.shape_attention).output(c.cell).run_on(threads);
    check_near(alone.floats(0), r.dattention, r.type);
    check_near(alone.floats(1), r.dcells, r.type);
    OpRunner added("mixed_conv2d_backward_mixing", a);
    added.input(r.shape_x, r.x, r.type)
        .input(r.shape_y, r.dy, r.type)
        .input(r.shape_attention, r.attention)
        .input(c.cell, r.cells)
        .input(c.cell, r.added);
    added.output(r.shape_attention).output_in_place(4).run_on(threads);
    check_near(added.floats(0), r.dattention, r.type);
    check_near(added.floats(1), plus(r.dcells, r.added), r.type);
  });
}

TEST_CASE("conv2d and its gradients") {
  for (const Case& c : kCases) {
    for (const int64_t batch : {1, 3, 4}) {
      for (const DataType type : {DataType::float32, DataType::bfloat16}) {
        // The same weight for every sample: what the first sample's cells give.
        Reference r(c, batch, type);
        const Shape shape(r.shape_weight.begin() + 1, r.shape_weight.end());
        const int64_t elements = size_of(shape), xs = r.x.size() / batch, ys = r.y.size() / batch;
        const Floats weight = narrow({r.weight.begin(), r.weight.begin() + elements}), operand = rounded(weight, type);
        Doubles y(r.y.size()), dx(r.x.size()), dweight(weight.size());
        for (int64_t b = 0; b < batch; ++b) {
          for (int64_t at = 0; at < ys; ++at) y[b * ys + at] = r.bias[at % c.out];
          for_each_product(c, [&](int64_t xi, int64_t wi, int64_t yi) {
            y[b * ys + yi] += double{r.x[b * xs + xi]} * operand[wi];
            dx[b * xs + xi] += double{r.dy[b * ys + yi]} * operand[wi];
            dweight[wi] += double{r.x[b * xs + xi]} * r.dy[b * ys + yi];
          });
        }
        const auto a = attributes(c);
        for (const int threads : {1, 2}) {
          INFO(c.in, " -> ", c.out, ", kernel ", c.kernel, ", groups ", c.groups, ", batch ", batch, ", threads ", threads);
          check_near(OpRunner("conv2d", a)
                         .input(r.shape_x, r.x, r.type)
                         .input(shape, weight)
                         .input({c.out}, r.bias)
                         .output(r.shape_y, r.type)
                         .run_on(threads)
                         .floats(),
                     y, type);
          check_near(OpRunner("conv2d_backward_input", a)
                         .input(r.shape_y, r.dy, r.type)
                         .input(shape, weight)
                         .output(r.shape_x, r.type)
                         .run_on(threads)
                         .floats(),
                     dx, type);
          check_near(OpRunner("conv2d_backward_weight", a)
                         .input(r.shape_x, r.x, r.type)
                         .input(r.shape_y, r.dy, r.type)
                         .output(shape)
                         .run_on(threads)
                         .floats(),
                     dweight);
        }
      }
    }
  }
}

TEST_CASE("matmul") {
  for (const auto& [rows, inner, columns] : {std::array<int64_t, 3>{1, 1, 1}, {3, 64, 16}, {32, 16, 57}, {5, 17, 1}, {130, 70, 190}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        const Floats a = random_floats(rows * inner, 1), b = random_floats(inner * columns, 2), bias = random_floats(columns, 3);
        Doubles plain, biased;
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = 0; c < columns; ++c) {
            double sum = 0;
            for (int64_t k = 0; k < inner; ++k) {
              sum += double{a[transpose_a ? k * rows + r : r * inner + k]} * b[transpose_b ? c * inner + k : k * columns + c];
            }
            plain.push_back(sum);
            biased.push_back(sum + bias[c]);
          }
        }
        const nlohmann::json attributes = {{"transposeA", transpose_a}, {"transposeB", transpose_b}};
        const Shape shape_a = transpose_a ? Shape{inner, rows} : Shape{rows, inner};
        const Shape shape_b = transpose_b ? Shape{columns, inner} : Shape{inner, columns};
        for (const int threads : {1, 2}) {
          check_near(OpRunner("matmul", attributes).input(shape_a, a).input(shape_b, b).output({rows, columns}).run_on(threads).floats(),
                     plain);
          check_near(OpRunner("matmul", attributes)
                         .input(shape_a, a)
                         .input(shape_b, b)
                         .input({columns}, bias)
                         .output({rows, columns})
                         .run_on(threads)
                         .floats(),
                     biased);
        }
      }
    }
  }
}

}  // namespace
}  // namespace kw::test
