// Convolutions, mixing and their fusion as naive sums in double, and the cases on which kernels are compared with them: odd sizes, groups,
// every kind of cell.
#pragma once

#include "op_runner.h"

namespace kw::test {

struct Case {
  int64_t in, out, kernel, size, stride, padding, dilation, groups;
  Shape cell;  // n, fe, keh, kew, ce
};

inline const Case kCases[] = {
    // in out k size s p d g    cells
    {3, 8, 3, 9, 2, 1, 1, 1, {3, 4, 3, 3, 3}},           // a stem
    {5, 17, 3, 7, 1, 1, 1, 1, {2, 17, 1, 1, 5}},         // odd channels, spatial cells
    {16, 16, 3, 8, 1, 1, 1, 1, {5, 16, 3, 3, 16}},       // one mixture
    {16, 32, 3, 9, 2, 1, 1, 1, {7, 16, 1, 1, 8}},        // blocks fit into cells
    {64, 64, 3, 6, 1, 1, 1, 1, {4, 64, 1, 1, 64}},       // as in ResNet-18
    {128, 64, 1, 5, 1, 0, 1, 1, {9, 64, 1, 1, 64}},      // 1x1
    {32, 16, 3, 7, 1, 2, 2, 1, {3, 8, 1, 3, 16}},        // dilation, cells that are rows
    {16, 16, 3, 7, 2, 0, 1, 1, {6, 4, 3, 3, 4}},         // cells narrower than blocks
    {24, 40, 3, 6, 1, 1, 1, 1, {130, 8, 1, 1, 8}},       // many cells
    {12, 18, 5, 8, 2, 2, 1, 3, {4, 3, 5, 5, 2}},         // groups
    {16, 32, 3, 6, 1, 1, 1, 2, {3, 16, 3, 3, 8}},        // groups with wide cells
    {16, 16, 3, 8, 1, 1, 1, 16, {4, 16, 3, 3, 1}},       // depth-wise
    {70, 70, 7, 6, 1, 3, 1, 70, {3, 10, 7, 7, 1}},       // depth-wise, a large kernel, more channels than vectors have
    {18, 18, 7, 9, 2, 3, 2, 18, {5, 18, 1, 1, 1}},       // the same with stride, dilation and cells of a position
    {20, 20, 3, 7, 2, 1, 1, 20, {3, 10, 3, 3, 1}},       // depth-wise, odd
    {64, 64, 3, 5, 2, 1, 1, 1, {6, 32, 1, 1, 32}},       // few positions: inputs are mixed, not weights
    {32, 64, 3, 6, 1, 2, 2, 1, {3, 32, 1, 1, 16}},       // the same with dilation
    {32, 32, 3, 1, 1, 1, 1, 1, {5, 32, 1, 1, 32}},       // most positions of the kernel never meet the image
    {128, 256, 3, 6, 1, 1, 1, 1, {24, 128, 1, 1, 128}},  // weights that leave a core's cache: slices of channels
    {64, 32, 1, 9, 2, 0, 1, 1, {5, 32, 1, 1, 32}},       // 1x1 with a stride
    {16, 16, 3, 20, 1, 1, 1, 1, {2, 16, 1, 1, 16}},      // more positions than a block of the direct weight gradient
    {96, 576, 1, 3, 1, 0, 1, 1, {40, 32, 1, 1, 96}},     // cells that do not fit blocks of 48 channels
    {17, 3, 1, 4, 1, 0, 1, 1, {2, 1, 1, 1, 17}},        {1, 1, 3, 3, 1, 1, 1, 1, {1, 1, 1, 1, 1}},
};

inline int64_t out_size(const Case& c) { return (c.size + 2 * c.padding - (c.kernel - 1) * c.dilation - 1) / c.stride + 1; }

inline nlohmann::json attributes(const Case& c) {
  return {{"stride", {c.stride, c.stride}},
          {"padding", {c.padding, c.padding}},
          {"dilation", {c.dilation, c.dilation}},
          {"groups", c.groups},
          {"outChannels", c.out},
          {"inChannels", c.in / c.groups},
          {"kernel", {c.kernel, c.kernel}},
          {"inputSize", {c.size, c.size}},
          {"cellShape", c.cell}};
}

// Visits every product of one sample's convolution: visit(x index, weight index, y index).
template <class Visit>
void for_each_product(const Case& c, const Visit& visit) {
  const int64_t out = out_size(c), in_group = c.in / c.groups, out_group = c.out / c.groups;
  for (int64_t oh = 0; oh < out; ++oh) {
    for (int64_t ow = 0; ow < out; ++ow) {
      for (int64_t o = 0; o < c.out; ++o) {
        for (int64_t p = 0; p < c.kernel; ++p) {
          for (int64_t q = 0; q < c.kernel; ++q) {
            const int64_t h = oh * c.stride - c.padding + p * c.dilation, w = ow * c.stride - c.padding + q * c.dilation;
            if (h < 0 || w < 0 || h >= c.size || w >= c.size) continue;
            for (int64_t i = 0; i < in_group; ++i) {
              visit((h * c.size + w) * c.in + o / out_group * in_group + i, ((o * c.kernel + p) * c.kernel + q) * in_group + i,
                    (oh * out + ow) * c.out + o);
            }
          }
        }
      }
    }
  }
}

// Visits every element of one sample's weight: visit(weight index, mixture, element of the cell).
template <class Visit>
void for_each_element(const Case& c, const Visit& visit) {
  const int64_t fe = c.cell[1], kh = c.cell[2], kw = c.cell[3], ce = c.cell[4], in = c.in / c.groups;
  const int64_t go = c.out / fe, gi = in / ce, columns = c.kernel / kw;
  for (int64_t o = 0; o < c.out; ++o) {
    for (int64_t p = 0; p < c.kernel; ++p) {
      for (int64_t q = 0; q < c.kernel; ++q) {
        for (int64_t i = 0; i < in; ++i) {
          visit(((o * c.kernel + p) * c.kernel + q) * in + i, ((p / kh * columns + q / kw) * go + o / fe) * gi + i / ce,
                ((o % fe * kh + p % kh) * kw + q % kw) * ce + i % ce);
        }
      }
    }
  }
}

// Every quantity of a mixed convolution of `batch` samples, from the same random tensors; with bfloat16 of operands rounded as docs/ops.md
// says.
struct Reference {
  Reference(const Case& c, int64_t batch, DataType type = DataType::float32)
      : type(type), shape_x{batch, c.size, c.size, c.in}, shape_y{batch, out_size(c), out_size(c), c.out} {
    const int64_t elements = c.out * c.kernel * c.kernel * (c.in / c.groups), cell = size_of(c.cell) / c.cell[0], n = c.cell[0];
    const int64_t mixtures = elements / cell;
    shape_weight = {batch, c.out, c.kernel, c.kernel, c.in / c.groups};
    shape_attention = {batch, mixtures, n};
    x = rounded(random_floats(size_of(shape_x), 1), type), dy = rounded(random_floats(size_of(shape_y), 2), type);
    bias = random_floats(c.out, 3);
    attention = random_floats(size_of(shape_attention), 4), cells = random_floats(size_of(c.cell), 5),
    added = random_floats(size_of(c.cell), 6);
    weight.resize(size_of(shape_weight)), dweight.resize(weight.size()), y.resize(dy.size()), dx.resize(x.size());
    dattention.resize(attention.size()), dcells.resize(cells.size());
    const Floats operand_attention = rounded(attention, type), operand_cells = rounded(cells, type);
    const auto operand = [type](double value) {
      return type == DataType::bfloat16 ? double{cpu::bfloat16(static_cast<float>(value))} : value;
    };
    const int64_t xs = x.size() / batch, ys = y.size() / batch;
    for (int64_t b = 0; b < batch; ++b) {
      double* dw = &dweight[b * elements];
      const float* a = &operand_attention[b * mixtures * n];
      Doubles w(static_cast<size_t>(elements)), operand_dweight;
      for_each_element(c, [&](int64_t at, int64_t mixture, int64_t element) {
        for (int64_t j = 0; j < n; ++j) w[at] += double{a[mixture * n + j]} * operand_cells[j * cell + element];
      });
      for (int64_t at = 0; at < elements; ++at) {
        weight[b * elements + at] = static_cast<float>(w[at]);  // also the input of samplewise_conv2d
        w[at] = operand(weight[b * elements + at]);
      }
      for (int64_t at = 0; at < ys; ++at) y[b * ys + at] = bias[at % c.out];
      for_each_product(c, [&](int64_t xi, int64_t wi, int64_t yi) {
        y[b * ys + yi] += x[b * xs + xi] * w[wi];
        dx[b * xs + xi] += dy[b * ys + yi] * w[wi];
        dw[wi] += double{x[b * xs + xi]} * dy[b * ys + yi];
      });
      for (int64_t at = 0; at < elements; ++at) operand_dweight.push_back(operand(dw[at]));
      for_each_element(c, [&](int64_t at, int64_t mixture, int64_t element) {
        for (int64_t j = 0; j < n; ++j) {
          dattention[(b * mixtures + mixture) * n + j] += operand_dweight[at] * operand_cells[j * cell + element];
          dcells[j * cell + element] += operand_dweight[at] * a[mixture * n + j];
        }
      });
    }
  }

  DataType type;  // of x, y and their gradients
  Shape shape_x, shape_y, shape_weight, shape_attention;
  Floats x, dy, bias, attention, cells, added;
  Doubles weight, dweight, y, dx, dattention, dcells;
};

inline Floats narrow(const Doubles& values) { return {values.begin(), values.end()}; }
inline Doubles plus(Doubles a, const Floats& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// Within 1e-5 of the largest magnitude: what cancels has the error of its terms. Within 2^-8 where results are rounded to bfloat16, and a
// thousandth where weights or their gradients are: a few fall on the other side of a tie.
inline void check_near(const Floats& actual, const Doubles& expected, DataType type = DataType::float32) {
  double scale = 1;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  Floats scaled(actual);
  Doubles wanted(expected);
  for (float& value : scaled) value = static_cast<float>(value / scale);
  for (double& value : wanted) value /= scale;
  check_close(scaled, wanted, type == DataType::bfloat16 ? 0x1p-8 + 1e-3 : 1e-5);
}

// Calls body(case, reference, threads) for all of them, with activations of both types.
template <class Body>
void for_each_case(const Body& body) {
  for (const Case& c : kCases) {
    for (const int64_t batch : {1, 2, 3, 5}) {
      for (const DataType type : {DataType::float32, DataType::bfloat16}) {
        const Reference r(c, batch, type);
        for (const int threads : {1, 2, 4}) {
          INFO(c.in, " -> ", c.out, ", kernel ", c.kernel, ", groups ", c.groups, ", ", std::string(name_of(type)), ", batch ", batch,
               ", threads ", threads);
          body(c, r, threads);
        }
      }
    }
  }
}

}  // namespace kw::test
