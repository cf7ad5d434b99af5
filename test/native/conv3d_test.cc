// Three-dimensional convolutions on the CPU, static and sample-wise, against naive sums in double: odd sizes, unequal strides, paddings and
// dilations, groups, batches and threads that do and do not divide each other.
#include <array>

#include "op_runner.h"

namespace kw::test {
namespace {

struct Case {
  int64_t in, out, groups;
  std::array<int64_t, 3> size, kernel, stride, padding, dilation;
};

const Case kCases[] = {
    {1, 1, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}},    {3, 5, 1, {4, 5, 6}, {3, 2, 1}, {1, 2, 1}, {1, 0, 0}, {1, 1, 1}},
    {16, 16, 1, {3, 6, 5}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},  {16, 32, 1, {5, 6, 7}, {3, 3, 3}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1}},
    {8, 24, 1, {6, 7, 8}, {2, 3, 2}, {1, 1, 2}, {1, 2, 0}, {2, 1, 3}},   {17, 3, 1, {2, 4, 3}, {1, 3, 1}, {2, 1, 1}, {0, 1, 0}, {1, 1, 1}},
    {12, 18, 3, {4, 4, 4}, {3, 1, 2}, {1, 1, 1}, {1, 0, 1}, {1, 1, 2}},  {16, 32, 2, {3, 5, 4}, {2, 2, 2}, {1, 2, 1}, {0, 1, 1}, {1, 2, 1}},
    {16, 16, 16, {4, 5, 3}, {3, 3, 3}, {1, 2, 1}, {1, 1, 1}, {1, 1, 1}},  // depth-wise
    {5, 10, 5, {3, 3, 4}, {1, 3, 2}, {1, 1, 1}, {0, 2, 1}, {1, 2, 1}},    // depth-wise, two outputs each
    {32, 16, 1, {1, 1, 1}, {3, 3, 3}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}},   // only the kernel's middle meets the image
};

int64_t out_size(const Case& c, size_t axis) {
  return (c.size[axis] + 2 * c.padding[axis] - (c.kernel[axis] - 1) * c.dilation[axis] - 1) / c.stride[axis] + 1;
}

nlohmann::json attributes(const Case& c) {
  return {{"stride", c.stride}, {"padding", c.padding}, {"dilation", c.dilation},
          {"groups", c.groups}, {"kernel", c.kernel},   {"inputSize", c.size}};
}

// Visits every product of one sample's convolution: visit(x index, weight index, y index).
template <class Visit>
void for_each_product(const Case& c, const Visit& visit) {
  const int64_t in_group = c.in / c.groups, out_group = c.out / c.groups;
  const std::array<int64_t, 3> out = {out_size(c, 0), out_size(c, 1), out_size(c, 2)};
  for (int64_t position = 0; position < out[0] * out[1] * out[2]; ++position) {
    const std::array<int64_t, 3> at = {position / (out[1] * out[2]), position / out[2] % out[1], position % out[2]};
    for (int64_t tap = 0; tap < c.kernel[0] * c.kernel[1] * c.kernel[2]; ++tap) {
      const std::array<int64_t, 3> in_kernel = {tap / (c.kernel[1] * c.kernel[2]), tap / c.kernel[2] % c.kernel[1], tap % c.kernel[2]};
      int64_t pixel = 0;
      bool inside = true;
      for (size_t axis = 0; axis < 3; ++axis) {
        const int64_t index = at[axis] * c.stride[axis] - c.padding[axis] + in_kernel[axis] * c.dilation[axis];
        inside = inside && index >= 0 && index < c.size[axis];
        pixel = pixel * c.size[axis] + index;
      }
      if (!inside) continue;
      for (int64_t o = 0; o < c.out; ++o) {
        for (int64_t i = 0; i < in_group; ++i) {
          visit(pixel * c.in + o / out_group * in_group + i, (o * c.kernel[0] * c.kernel[1] * c.kernel[2] + tap) * in_group + i,
                position * c.out + o);
        }
      }
    }
  }
}

// Everything about a convolution of `batch` samples with one weight or, `samplewise`, one for each.
struct Reference {
  Reference(const Case& c, int64_t batch, bool samplewise)
      : shape_x{batch, c.size[0], c.size[1], c.size[2], c.in},
        shape_y{batch, out_size(c, 0), out_size(c, 1), out_size(c, 2), c.out},
        shape_weight{c.out, c.kernel[0], c.kernel[1], c.kernel[2], c.in / c.groups} {
    const int64_t elements = size_of(shape_weight);
    if (samplewise) shape_weight.insert(shape_weight.begin(), batch);
    x = random_floats(size_of(shape_x), 1), dy = random_floats(size_of(shape_y), 2), bias = random_floats(c.out, 3);
    weight = random_floats(size_of(shape_weight), 4);
    y.resize(dy.size()), dx.resize(x.size()), dweight.resize(weight.size());
    const int64_t xs = size_of(shape_x) / batch, ys = size_of(shape_y) / batch;
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t w = samplewise ? b * elements : 0;
      for (int64_t at = 0; at < ys; ++at) y[b * ys + at] = bias[at % c.out];
      for_each_product(c, [&](int64_t xi, int64_t wi, int64_t yi) {
        y[b * ys + yi] += double{x[b * xs + xi]} * weight[w + wi];
        dx[b * xs + xi] += double{dy[b * ys + yi]} * weight[w + wi];
        dweight[w + wi] += double{x[b * xs + xi]} * dy[b * ys + yi];
      });
    }
  }

  Shape shape_x, shape_y, shape_weight;
  Floats x, dy, bias, weight;
  Doubles y, dx, dweight;
};

void check_passes(const std::string& op, const Case& c, const Reference& r, int threads) {
  const auto a = attributes(c);
  INFO(op, ": ", c.in, " -> ", c.out, ", groups ", c.groups, ", batch ", r.shape_x[0], ", threads ", threads);
  check_close(OpRunner(op, a)
                  .input(r.shape_x, r.x)
                  .input(r.shape_weight, r.weight)
                  .input({c.out}, r.bias)
                  .output(r.shape_y)
                  .run_on(threads)
                  .floats(),
              r.y, 1e-4);
  check_close(
      OpRunner(op + "_backward_input", a).input(r.shape_y, r.dy).input(r.shape_weight, r.weight).output(r.shape_x).run_on(threads).floats(),
      r.dx, 1e-4);
  check_close(
      OpRunner(op + "_backward_weight", a).input(r.shape_x, r.x).input(r.shape_y, r.dy).output(r.shape_weight).run_on(threads).floats(),
      r.dweight, 1e-4);
}

TEST_CASE("conv3d and samplewise_conv3d and their gradients") {
  for (const Case& c : kCases) {
    for (const int64_t batch : {1, 2, 3, 5}) {
      const Reference samplewise(c, batch, true), shared(c, batch, false);
      for (const int threads : {1, 2, 4}) {
        check_passes("conv3d", c, shared, threads);
        check_passes("samplewise_conv3d", c, samplewise, threads);
      }
    }
  }
}

TEST_CASE("conv3d refuses tensors and attributes of two dimensions") {
  const Case& c = kCases[1];
  const Reference r(c, 2, false);
  const auto run = [&](const nlohmann::json& a, const Shape& x) {
    OpRunner("conv3d", a).input(x, r.x).input(r.shape_weight, r.weight).output(r.shape_y).run_on(1);
  };
  run(attributes(c), r.shape_x);
  const Shape flat = {r.shape_x[0], r.shape_x[1], r.shape_x[2] * r.shape_x[3], r.shape_x[4]};
  CHECK_THROWS_WITH_AS(run(attributes(c), flat), doctest::Contains("expected x with 5 axes"), Error);
  auto planar = attributes(c);
  planar["stride"] = {1, 1};
  CHECK_THROWS_WITH_AS(run(planar, r.shape_x), doctest::Contains("expected stride to be 3 integers of at least 1"), Error);
}

}  // namespace
}  // namespace kw::test
