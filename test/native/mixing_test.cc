// Mixing and its gradient by every kernel that this machine has, in layouts and sizes that fit badly, against sums in double.
#include "cpu/mixing/mixing.h"

#include <numeric>

#include "cpu/bfloat16.h"
#include "cpu/converted_copy.h"
#include "emulated_tiles.h"
#include "op_runner.h"

namespace kw::test {
namespace {

using cpu::bfloat16;

float nearest(double value) { return bfloat16(static_cast<float>(value)); }

// A bfloat16 has 8 significant bits; the float sum before may fall on the other side of a tie.
bool is_rounded(float actual, double expected, double scale) {
  return nearest(expected - 1e-5 * scale) <= actual && actual <= nearest(expected + 1e-5 * scale);
}

void check_rounded_combination(const cpu::MixingKernels& kernels, const Floats& coefficients, const Floats& matrix, int64_t rows,
                               int64_t terms, int64_t panels) {
  const int64_t panel = kernels.panel;
  std::vector<uint16_t> actual(static_cast<size_t>(panels * rows * panel), 0xffff);
  std::vector<uint16_t*> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(&actual[r * panel]);
  kernels.combine_to_bfloat16(coefficients.data(), rows, terms, matrix.data(), terms * panel, panels, targets.data(), rows * panel);
  Floats as_floats(actual.size());
  std::vector<float*> float_targets;
  for (int64_t r = 0; r < rows; ++r) float_targets.push_back(&as_floats[r * panel]);
  kernels.combine_rounded(coefficients.data(), rows, terms, matrix.data(), terms * panel, panels, float_targets.data(), rows * panel);
  int64_t wrong = 0;
  for (size_t i = 0; i < actual.size(); ++i) wrong += as_floats[i] != std::bit_cast<bfloat16>(actual[i]);
  for (int64_t p = 0; p < panels; ++p) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < panel; ++c) {
        double sum = 0;
        for (int64_t t = 0; t < terms; ++t) sum += double{coefficients[t * kernels.row_block + r]} * matrix[(p * terms + t) * panel + c];
        wrong += !is_rounded(std::bit_cast<bfloat16>(actual[(p * rows + r) * panel + c]), sum, 1);
      }
    }
  }
  CHECK(wrong == 0);
}

void check_kernels(const cpu::MixingKernels& kernels) {
  // Panels of `combine` and the first ones of `correlate` may have a gap between them, as here of one row.
  const int64_t panel = kernels.panel, panels = 3;
  for (const int64_t terms : {1, 7, 40}) {
    for (int64_t rows = 1; rows <= kernels.row_block; ++rows) {
      const Floats coefficients = random_floats(terms * kernels.row_block, 1), matrix = random_floats(panels * (terms + 1) * panel, 2);
      Floats actual = random_floats(panels * (rows + 1) * panel, 3);
      Doubles expected = widen(actual);
      std::vector<float*> targets;
      for (int64_t r = 0; r < rows; ++r) targets.push_back(&actual[r * panel]);
      for (const bool accumulate : {true, false}) {
        for (int64_t p = 0; p < panels; ++p) {
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < panel; ++c) {
              double& sum = expected[(p * (rows + 1) + r) * panel + c];
              if (!accumulate) sum = 0;
              for (int64_t t = 0; t < terms; ++t)
                sum += double{coefficients[t * kernels.row_block + r]} * matrix[(p * (terms + 1) + t) * panel + c];
            }
          }
        }
        kernels.combine(coefficients.data(), rows, terms, matrix.data(), (terms + 1) * panel, panels, targets.data(), (rows + 1) * panel,
                        accumulate);
        check_close(actual, expected, 1e-5);
      }
      check_rounded_combination(kernels, coefficients, matrix, rows, terms, panels);
      Floats products = random_floats(rows * terms * kernels.lanes, 4), summed(rows * terms);
      Doubles wanted(rows * terms);
      for (size_t i = 0; i < products.size(); ++i) wanted[i / kernels.lanes] += products[i];
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t t = 0; t < terms; ++t) {
          for (int64_t p = 0; p < panels; ++p) {
            for (int64_t c = 0; c < panel; ++c) {
              wanted[r * terms + t] += double{actual[(p * (rows + 1) + r) * panel + c]} * matrix[(p * terms + t) * panel + c];
            }
          }
        }
      }
      kernels.correlate(actual.data(), rows, (rows + 1) * panel, matrix.data(), terms, panels, products.data());
      for (size_t i = 0; i < products.size(); ++i) summed[i / kernels.lanes] += products[i];
      check_close(summed, wanted, 1e-5);
    }
  }
}

std::vector<const cpu::MixingKernels*> runnable_kernels() {
  std::vector<const cpu::MixingKernels*> sets = {&cpu::baseline::mixing_kernels()};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back(&cpu::avx2::mixing_kernels());
  if (__builtin_cpu_supports("avx512f")) sets.push_back(&cpu::avx512::mixing_kernels());
#endif
  const auto* best = &cpu::mixing_kernels();
  if (std::find(sets.begin(), sets.end(), best) == sets.end()) sets.push_back(best);
  return sets;
}

TEST_CASE("mixing kernels of every instruction set that this machine has") {
  for (const cpu::MixingKernels* kernels : runnable_kernels()) check_kernels(*kernels);
}

struct Case {
  int64_t samples, cells, fe, keh, kew, ce, out, kh, kw, in;
  // The layout: [O / block][kh][kw][I / pair][block][pair], plain (rows of input channels) where block is 0.
  int64_t block, pair;
};

const Case kCases[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1},         // one number
    {2, 3, 5, 1, 1, 7, 10, 3, 3, 7, 0, 1},        // plain, odd
    {3, 27, 16, 1, 1, 16, 16, 3, 3, 32, 16, 1},   // blocks as wide as cells
    {8, 33, 32, 1, 1, 32, 32, 3, 3, 32, 16, 2},   // more rows than a block, pairs; a term more than a tile
    {1, 47, 64, 1, 1, 64, 64, 1, 1, 128, 64, 2},  // pieces of several panels
    {5, 2, 8, 1, 1, 24, 24, 1, 1, 24, 0, 1},      // runs across panels
    {4, 18, 12, 1, 1, 1, 12, 3, 3, 1, 0, 1},      // depth-wise: cells narrower than a pair
    {2, 65, 8, 3, 3, 6, 16, 3, 3, 12, 8, 2},      // cells of several positions
    {1, 130, 17, 1, 3, 2, 17, 3, 3, 2, 0, 1},     // a cell that ends within a panel
};

struct Layout {
  CellGrid grid;
  cpu::CellPlacement placement;
  int64_t stride;  // of samples; a little more than a weight
};

Layout lay_out(const Case& c) {
  const auto place = [&](int64_t o, int64_t p, int64_t q, int64_t i) {
    if (c.block == 0) return ((o * c.kh + p) * c.kw + q) * c.in + i;
    return ((((o / c.block * c.kh + p) * c.kw + q) * (c.in / c.pair) + i / c.pair) * c.block + o % c.block) * c.pair + i % c.pair;
  };
  Layout layout = {{c.cells, c.fe, c.keh, c.kew, c.ce, c.out, c.kh, c.kw, c.in}, {}, (c.out * c.kh * c.kw * c.in + 31) / 16 * 16};
  for (int64_t a = 0; a < c.fe; ++a) {
    for (int64_t p = 0; p < c.keh; ++p) {
      for (int64_t q = 0; q < c.kew; ++q) {
        for (int64_t i = 0; i < c.ce; ++i) layout.placement.elements.push_back(place(a, p, q, i));
      }
    }
  }
  for (int64_t p = 0; p < c.kh; p += c.keh) {
    for (int64_t q = 0; q < c.kw; q += c.kew) {
      for (int64_t o = 0; o < c.out; o += c.fe) {
        for (int64_t i = 0; i < c.in; i += c.ce) layout.placement.mixtures.push_back(place(o, p, q, i));
      }
    }
  }
  return layout;
}

using Types = cpu::MixingTypes;
constexpr Types kFloats, kRoundedFloats = {DataType::bfloat16, DataType::float32}, kHalves = {DataType::bfloat16, DataType::bfloat16};

// A program of one step whose only input are the cells.
class Mixer {
 public:
  Mixer(const Case& c, const Layout& layout, int threads, const Types& types, const cpu::MixingKernels& kernels, cpu::CellMixing::Use use,
        const Floats& cells, const cpu::CellSlices& slices = {})
      : plan_(plan_of(static_cast<int64_t>(cells.size()))),
        step_{.op = "mixing", .label = "test", .inputs = {0}, .outputs = {}, .mutates = {}, .attributes = nullptr},
        context_(plan_, step_, threads, resources_),
        mixing_(context_, layout.grid, layout.placement, c.samples, types, slices, kernels),
        cells_(cells) {
    mixing_.keep_cells(context_, plan_.tensors[0], use);
    memory_.bases_ = {nullptr, reinterpret_cast<std::byte*>(cells_.data())};
    memory_.versions_ = {1, 1};
    scratch_ = cpu::AlignedFloats(std::max<size_t>(64, std::max(mixing_.mix_scratch_bytes(), mixing_.backward_scratch_bytes())));
  }

  const cpu::CellMixing& operator*() const { return mixing_; }
  const std::byte* cells() { return mixing_.cell_panels(memory_); }
  std::byte* scratch() const { return reinterpret_cast<std::byte*>(scratch_.data()); }

 private:
  static Plan plan_of(int64_t elements) {
    return {"test", {{"workspace", 0}, {"cells", 4 * elements}}, {{DataType::float32, {elements}, 1, 0}}, {}};
  }

  Plan plan_;
  Step step_;
  ProgramResources resources_;
  KernelContext context_;
  cpu::CellMixing mixing_;
  Floats cells_;
  Memory memory_;
  cpu::AlignedFloats scratch_;
};

template <class Weight>
void check_mix(const Case& c, int threads, const Types& types, const cpu::MixingKernels& kernels) {
  const bool rounds = types.precision == DataType::bfloat16;
  const Layout layout = lay_out(c);
  const int64_t m = layout.grid.mixtures(), elements = layout.grid.cell_elements();
  const Floats cells = random_floats(c.cells * elements, 1), attention = random_floats(c.samples * m * c.cells, 2);
  Mixer mixer(c, layout, threads, types, kernels, cpu::CellMixing::Use::mix, cells);
  constexpr Weight kUntouched = 77;
  std::vector<Weight> weights(static_cast<size_t>(c.samples * layout.stride), kUntouched);
  // Fewer samples than prepared for, then all.
  for (const int64_t samples : {(c.samples + 1) / 2, c.samples}) {
    (*mixer).mix(attention.data(), samples, mixer.cells(), weights.data(), layout.stride, mixer.scratch());
    int64_t written = 0, wrong = 0;
    for (int64_t row = 0; row < samples * m; ++row) {
      for (int64_t e = 0; e < elements; ++e) {
        double sum = 0, scale = 1;
        for (int64_t j = 0; j < c.cells; ++j) {
          const float a = attention[row * c.cells + j], b = cells[j * elements + e];
          sum += rounds ? double{nearest(a)} * nearest(b) : double{a} * b;
          scale += std::fabs(a * b);
        }
        const int64_t place = row / m * layout.stride + layout.placement.mixtures[row % m] + layout.placement.elements[e];
        if constexpr (sizeof(Weight) == sizeof(uint16_t)) {
          wrong += !is_rounded(std::bit_cast<bfloat16>(weights[place]), sum, scale);
        } else if (rounds) {
          wrong += !is_rounded(weights[place], sum, scale) || nearest(weights[place]) != weights[place];
        } else {
          wrong += !(std::fabs(weights[place] - sum) <= 1e-6 * scale);
        }
        ++written;
      }
    }
    CHECK(wrong == 0);
    CHECK(std::count(weights.begin(), weights.begin() + samples * layout.stride, kUntouched) >= samples * layout.stride - written);
    for (int64_t b = 0; b < samples; ++b) CHECK(weights[(b + 1) * layout.stride - 1] == kUntouched);
  }
}

void check_backward(const Case& c, int threads, const Types& types, const cpu::MixingKernels& kernels) {
  const bool rounds = types.precision == DataType::bfloat16;
  const Layout layout = lay_out(c);
  const int64_t m = layout.grid.mixtures(), elements = layout.grid.cell_elements();
  const Floats cells = random_floats(c.cells * elements, 1), attention = random_floats(c.samples * m * c.cells, 2);
  const Floats dweights = random_floats(c.samples * layout.stride, 3), before = random_floats(c.cells * elements, 4);
  const auto operand = [&](float value) { return rounds ? double{nearest(value)} : double{value}; };
  Doubles dattention(attention.size()), dcells(cells.size());
  for (int64_t row = 0; row < c.samples * m; ++row) {
    for (int64_t e = 0; e < elements; ++e) {
      const double d = operand(dweights[row / m * layout.stride + layout.placement.mixtures[row % m] + layout.placement.elements[e]]);
      for (int64_t j = 0; j < c.cells; ++j) {
        dattention[row * c.cells + j] += d * operand(cells[j * elements + e]);
        dcells[j * elements + e] += d * operand(attention[row * c.cells + j]);
      }
    }
  }
  Mixer mixer(c, layout, threads, types, kernels, cpu::CellMixing::Use::backward, cells);
  Floats actual(attention.size(), NAN), dcells_actual = before;
  const auto run = [&](int64_t samples, const cpu::CellMixing::Gradients& gradients) {
    (*mixer).backward(attention.data(), samples, mixer.cells(), dweights.data(), layout.stride, gradients, mixer.scratch());
  };
  run(c.samples, {.dattention = actual.data(), .dcells = dcells_actual.data(), .accumulate_cells = true});
  check_close(actual, dattention, 1e-4);
  Doubles expected = dcells;
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  check_close(dcells_actual, expected, 1e-4);
  // Over what is there, without dattention, and dattention alone.
  std::fill(dcells_actual.begin(), dcells_actual.end(), NAN);
  run(c.samples, {.dcells = dcells_actual.data()});
  check_close(dcells_actual, dcells, 1e-4);
  std::fill(actual.begin(), actual.end(), NAN);
  run(c.samples, {.dattention = actual.data()});
  check_close(actual, dattention, 1e-4);
}

// A layer cut into slices along either axis against the layer at once, which the test above knows to be right.
void check_slices(const Case& c, cpu::CellSlices::Axis axis, int64_t parts, const Types& types, const cpu::MixingKernels& kernels) {
  const bool out = axis == cpu::CellSlices::Axis::out;
  Case slice_case = c;
  (out ? slice_case.fe : slice_case.ce) /= parts;
  (out ? slice_case.out : slice_case.in) /= parts;
  const Layout whole = lay_out(c), slice = lay_out(slice_case);
  const cpu::CellSlices slices = {axis, parts};
  CHECK(cpu::slice_grid(whole.grid, slices).mixtures() == slice.grid.mixtures());
  const int64_t m = whole.grid.mixtures(), width = out ? slice_case.fe : slice_case.ce;
  const Floats cells = random_floats(c.cells * whole.grid.cell_elements(), 1), attention = random_floats(c.samples * m * c.cells, 2);
  const auto element = static_cast<size_t>(element_bytes(types.weights));
  using Use = cpu::CellMixing::Use;

  // Element (o, p, q, i) of a slice: its place in each of two buffers of plain weights, of the layer and of the slice, where the channels
  // of the slice in one position of cells after the other lie side by side.
  const auto for_each_place = [&](int64_t part, const auto& visit) {
    const auto channel = [&](int64_t index) { return (index / width * parts + part) * width + index % width; };
    for (int64_t b = 0; b < c.samples; ++b) {
      for (int64_t o = 0; o < slice_case.out; ++o) {
        for (int64_t p = 0; p < c.kh * c.kw; ++p) {
          for (int64_t i = 0; i < slice_case.in; ++i) {
            visit(b * whole.stride + ((out ? channel(o) : o) * c.kh * c.kw + p) * c.in + (out ? i : channel(i)),
                  b * slice.stride + (o * c.kh * c.kw + p) * slice_case.in + i);
          }
        }
      }
    }
  };

  Mixer at_once(c, whole, 2, types, kernels, Use::mix, cells), sliced(slice_case, slice, 2, types, kernels, Use::mix, cells, slices);
  Bytes expected(static_cast<size_t>(c.samples * whole.stride) * element), actual(static_cast<size_t>(c.samples * slice.stride) * element);
  (*at_once).mix(attention.data(), c.samples, at_once.cells(), expected.data(), whole.stride, at_once.scratch());
  for (int64_t part = 0; part < parts; ++part) {
    (*sliced).mix(attention.data(), c.samples, sliced.cells(), actual.data(), slice.stride, sliced.scratch(), part);
    int64_t wrong = 0;
    for_each_place(part, [&](int64_t from, int64_t to) {
      wrong += std::memcmp(&expected[static_cast<size_t>(from) * element], &actual[static_cast<size_t>(to) * element], element) != 0;
    });
    CHECK(wrong == 0);
  }

  const Floats dweights = random_floats(c.samples * whole.stride, 3);
  Floats dslice(static_cast<size_t>(c.samples * slice.stride)), dattention(attention.size()), dcells(cells.size());
  Floats dattention_sliced(attention.size(), NAN), dcells_sliced(cells.size(), NAN);
  Mixer back(c, whole, 2, types, kernels, Use::backward, cells),
      back_sliced(slice_case, slice, 2, types, kernels, Use::backward, cells, slices);
  (*back).backward(attention.data(), c.samples, back.cells(), dweights.data(), whole.stride,
                   {.dattention = dattention.data(), .dcells = dcells.data()}, back.scratch());
  for (int64_t part = 0; part < parts; ++part) {
    for_each_place(part, [&](int64_t from, int64_t to) { dslice[to] = dweights[from]; });
    (*back_sliced)
        .backward(attention.data(), c.samples, back_sliced.cells(), dslice.data(), slice.stride,
                  {.dattention = dattention_sliced.data(), .dcells = dcells_sliced.data(), .accumulate_attention = part > 0},
                  back_sliced.scratch(), part);
  }
  check_close(dattention_sliced, widen(dattention), 1e-4);
  check_close(dcells_sliced, widen(dcells), 1e-4);
}

TEST_CASE("a weight in slices of channels") {
  const Case cases[] = {
      {3, 5, 16, 1, 1, 8, 32, 3, 3, 24, 0, 1}, {2, 33, 8, 3, 3, 6, 24, 3, 3, 6, 0, 1}, {1, 4, 6, 1, 1, 4, 6, 1, 1, 8, 0, 1}};
  for (const Case& c : cases) {
    for (const auto axis : {cpu::CellSlices::Axis::out, cpu::CellSlices::Axis::in}) {
      for (const int64_t parts : {1, 2}) {
        for (const cpu::MixingKernels* kernels : runnable_kernels()) {
          for (const Types& types : {kFloats, kRoundedFloats, kHalves}) check_slices(c, axis, parts, types, *kernels);
        }
        check_slices(c, axis, parts, kHalves, cpu::emulated::mixing_kernels());
      }
    }
  }
}

TEST_CASE("cells are mixed into float32 and bfloat16 weights of any layout, and taken apart again") {
  for (const Case& c : kCases) {
    CAPTURE(c.cells);
    CAPTURE(c.ce);
    for (const int threads : {1, 3}) {
      for (const cpu::MixingKernels* kernels : runnable_kernels()) {
        check_mix<float>(c, threads, kFloats, *kernels);
        check_mix<float>(c, threads, kRoundedFloats, *kernels);
        check_mix<uint16_t>(c, threads, kHalves, *kernels);
        for (const Types& types : {kFloats, kRoundedFloats, kHalves}) check_backward(c, threads, types, *kernels);
      }
      check_mix<uint16_t>(c, threads, kHalves, cpu::emulated::mixing_kernels());
      check_backward(c, threads, kHalves, cpu::emulated::mixing_kernels());
    }
  }
}

// 38 MB of weights in float32: more than a chunk. Each sample alone has few enough to be convolved at once.
TEST_CASE("weights of too many samples are mixed in slices of channels") {
  const int64_t samples = 32, in = 128, out = 256, cells = 3, mixtures = 4, size = 2;
  const Shape cell = {cells, 128, 3, 3, 64};
  const Floats weights_of_y = random_floats(samples * size * size * out, 1), x = random_floats(samples * size * size * in, 2);
  const Floats attention = random_floats(samples * mixtures * cells, 3), values = random_floats(size_of(cell), 4, 0, 0.05f);
  const Floats bias = random_floats(out, 5), before = random_floats(size_of(cell), 6);
  const nlohmann::json attributes = {{"stride", {1, 1}},   {"padding", {1, 1}}, {"dilation", {1, 1}},       {"groups", 1},
                                     {"outChannels", out}, {"kernel", {3, 3}},  {"inputSize", {size, size}}};
  const auto part = [](const Floats& all, int64_t count, int64_t first, int64_t taken) {
    const auto step = static_cast<int64_t>(all.size()) / count;
    return Floats(all.begin() + first * step, all.begin() + (first + taken) * step);
  };
  // y, dx, dattention and dcells + before of some samples.
  const auto run = [&](int64_t first, int64_t count) {
    const Shape x_shape = {count, size, size, in}, y_shape = {count, size, size, out}, attention_shape = {count, mixtures, cells};
    const Floats some_x = part(x, samples, first, count), some_dy = part(weights_of_y, samples, first, count);
    const Floats some_attention = part(attention, samples, first, count);
    OpRunner forward("mixed_conv2d", attributes), input("mixed_conv2d_backward_input", attributes);
    OpRunner mixing("mixed_conv2d_backward_mixing", attributes);
    forward.input(x_shape, some_x).input(attention_shape, some_attention).input(cell, values).input({out}, bias).output(y_shape).run_on(2);
    input.input(y_shape, some_dy).input(attention_shape, some_attention).input(cell, values).output(x_shape).run_on(2);
    mixing.input(x_shape, some_x).input(y_shape, some_dy).input(attention_shape, some_attention).input(cell, values).input(cell, before);
    mixing.output(attention_shape).output_in_place(4).run_on(2);
    return std::vector<Floats>{forward.floats(), input.floats(), mixing.floats(0), mixing.floats(1)};
  };
  const std::vector<Floats> together = run(0, samples);
  Doubles dcells = widen(before);
  for (int64_t sample = 0; sample < samples; ++sample) {
    const std::vector<Floats> alone = run(sample, 1);
    for (size_t result = 0; result < 3; ++result) check_close(part(together[result], samples, sample, 1), widen(alone[result]), 1e-4);
    for (size_t i = 0; i < dcells.size(); ++i) dcells[i] += double{alone[3][i]} - before[i];
  }
  check_close(together[3], dcells, 1e-3);
}

}  // namespace
}  // namespace kw::test
