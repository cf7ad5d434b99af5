// Mixing and its gradient by every kernel that this machine has, in layouts and sizes that fit badly, against sums in double.
#include "cpu/mixing.h"

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
void check_bfloat16(float actual, double expected, double scale) {
  CHECK_MESSAGE(std::fabs(actual - expected) <= std::ldexp(std::fabs(expected), -8) + 1e-5 * scale, actual, " instead of ", expected);
}

void check_rounded_combination(const cpu::MixingKernels& kernels, const Floats& coefficients, const Floats& matrix, int64_t rows,
                               int64_t terms, int64_t panels) {
  const int64_t panel = kernels.panel;
  std::vector<uint16_t> actual(static_cast<size_t>(panels * rows * panel), 0xffff);
  std::vector<uint16_t*> targets;
  for (int64_t r = 0; r < rows; ++r) targets.push_back(&actual[r * panel]);
  kernels.combine_to_bfloat16(coefficients.data(), rows, terms, matrix.data(), panels, targets.data(), rows * panel);
  for (int64_t p = 0; p < panels; ++p) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < panel; ++c) {
        double sum = 0;
        for (int64_t t = 0; t < terms; ++t) sum += double{coefficients[t * kernels.row_block + r]} * matrix[(p * terms + t) * panel + c];
        check_bfloat16(std::bit_cast<bfloat16>(actual[(p * rows + r) * panel + c]), sum, 1);
      }
    }
  }
}

void check_kernels(const cpu::MixingKernels& kernels) {
  const int64_t panel = kernels.panel, panels = 3;
  for (const int64_t terms : {1, 7, 40}) {
    for (int64_t rows = 1; rows <= kernels.row_block; ++rows) {
      const Floats coefficients = random_floats(terms * kernels.row_block, 1), matrix = random_floats(panels * terms * panel, 2);
      Floats actual = random_floats(panels * rows * panel, 3);
      Doubles expected = widen(actual);
      std::vector<float*> targets;
      for (int64_t r = 0; r < rows; ++r) targets.push_back(&actual[r * panel]);
      for (const bool accumulate : {true, false}) {
        for (int64_t p = 0; p < panels; ++p) {
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < panel; ++c) {
              double& sum = expected[(p * rows + r) * panel + c];
              if (!accumulate) sum = 0;
              for (int64_t t = 0; t < terms; ++t)
                sum += double{coefficients[t * kernels.row_block + r]} * matrix[(p * terms + t) * panel + c];
            }
          }
        }
        kernels.combine(coefficients.data(), rows, terms, matrix.data(), panels, targets.data(), rows * panel, accumulate);
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
              wanted[r * terms + t] += double{actual[(p * rows + r) * panel + c]} * matrix[(p * terms + t) * panel + c];
            }
          }
        }
      }
      kernels.correlate(actual.data(), rows, matrix.data(), terms, panels, products.data());
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
  cpu::CellGrid grid;
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

// A program of one step whose only input are the cells.
class Mixer {
 public:
  Mixer(const Case& c, const Layout& layout, int threads, DataType precision, const cpu::MixingKernels& kernels, cpu::CellMixing::Use use,
        const Floats& cells)
      : plan_(plan_of(c)),
        step_{.op = "mixing", .label = "test", .inputs = {0}, .outputs = {}, .mutates = {}, .attributes = nullptr},
        context_(plan_, step_, threads, resources_),
        mixing_(context_, layout.grid, layout.placement, c.samples, precision, kernels),
        cells_(cells) {
    mixing_.keep_cells(context_, 0, use);
    memory_.bases_ = {nullptr, reinterpret_cast<std::byte*>(cells_.data())};
    memory_.versions_ = {1, 1};
    scratch_ = cpu::AlignedFloats(std::max<size_t>(64, std::max(mixing_.mix_scratch_bytes(), mixing_.backward_scratch_bytes())));
  }

  const cpu::CellMixing& operator*() const { return mixing_; }
  const std::byte* cells() { return mixing_.cell_panels(memory_); }
  std::byte* scratch() const { return reinterpret_cast<std::byte*>(scratch_.data()); }

 private:
  static Plan plan_of(const Case& c) {
    const Shape shape = {c.cells, c.fe, c.keh, c.kew, c.ce};
    return {"test", {{"workspace", 0}, {"cells", 4 * size_of(shape)}}, {{DataType::float32, shape, 1, 0}}, {}};
  }

  Plan plan_;
  Step step_;
  ProgramResources resources_;
  StepContext context_;
  cpu::CellMixing mixing_;
  Floats cells_;
  Memory memory_;
  cpu::AlignedFloats scratch_;
};

template <class Weight>
void check_mix(const Case& c, int threads, const cpu::MixingKernels& kernels) {
  const bool halves = sizeof(Weight) == sizeof(uint16_t), inputs_rounded = halves && kernels.tiles;
  const Layout layout = lay_out(c);
  const int64_t m = layout.grid.mixtures(), elements = layout.grid.cell_elements();
  const Floats cells = random_floats(c.cells * elements, 1), attention = random_floats(c.samples * m * c.cells, 2);
  Mixer mixer(c, layout, threads, halves ? DataType::bfloat16 : DataType::float32, kernels, cpu::CellMixing::Use::mix, cells);
  constexpr Weight kUntouched = 77;
  std::vector<Weight> weights(static_cast<size_t>(c.samples * layout.stride), kUntouched);
  // Fewer samples than prepared for, then all.
  for (const int64_t samples : {(c.samples + 1) / 2, c.samples}) {
    (*mixer).mix(attention.data(), samples, mixer.cells(), weights.data(), layout.stride, mixer.scratch());
    int64_t written = 0;
    for (int64_t row = 0; row < samples * m; ++row) {
      for (int64_t e = 0; e < elements; ++e) {
        double sum = 0, scale = 1;
        for (int64_t j = 0; j < c.cells; ++j) {
          const float a = attention[row * c.cells + j], b = cells[j * elements + e];
          sum += inputs_rounded ? double{nearest(a)} * nearest(b) : double{a} * b;
          scale += std::fabs(a * b);
        }
        const int64_t place = row / m * layout.stride + layout.placement.mixtures[row % m] + layout.placement.elements[e];
        if constexpr (sizeof(Weight) == sizeof(uint16_t)) {
          check_bfloat16(std::bit_cast<bfloat16>(weights[place]), sum, scale);
        } else {
          CHECK_MESSAGE(std::fabs(weights[place] - sum) <= 1e-6 * scale, weights[place], " instead of ", sum);
        }
        ++written;
      }
    }
    CHECK(std::count(weights.begin(), weights.begin() + samples * layout.stride, kUntouched) >= samples * layout.stride - written);
    for (int64_t b = 0; b < samples; ++b) CHECK(weights[(b + 1) * layout.stride - 1] == kUntouched);
  }
}

void check_backward(const Case& c, int threads, DataType precision, const cpu::MixingKernels& kernels) {
  const bool inputs_rounded = precision == DataType::bfloat16 && kernels.tiles;
  const Layout layout = lay_out(c);
  const int64_t m = layout.grid.mixtures(), elements = layout.grid.cell_elements();
  const Floats cells = random_floats(c.cells * elements, 1), attention = random_floats(c.samples * m * c.cells, 2);
  const Floats dweights = random_floats(c.samples * layout.stride, 3), before = random_floats(c.cells * elements, 4);
  const auto operand = [&](float value) { return inputs_rounded ? double{nearest(value)} : double{value}; };
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
  Mixer mixer(c, layout, threads, precision, kernels, cpu::CellMixing::Use::backward, cells);
  const cpu::AlignedFloats panels((*mixer).dcell_panel_bytes());
  Floats actual(attention.size(), NAN), dcells_actual = before;
  const auto run = [&](int64_t samples, const cpu::CellMixing::Gradients& gradients) {
    (*mixer).backward(attention.data(), samples, mixer.cells(), dweights.data(), layout.stride, gradients, mixer.scratch());
  };
  run(c.samples, {.dattention = actual.data(), .dcell_panels = panels.data()});
  check_close(actual, dattention, 1e-4);
  (*mixer).unpack(panels.data(), true, dcells_actual.data());
  Doubles expected = dcells;
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += before[i];
  check_close(dcells_actual, expected, 1e-4);
  // Once more on top, without dattention, and dattention alone.
  run(c.samples, {.dcell_panels = panels.data(), .accumulate = true});
  (*mixer).unpack(panels.data(), false, dcells_actual.data());
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = 2 * dcells[i];
  check_close(dcells_actual, expected, 1e-4);
  std::fill(actual.begin(), actual.end(), NAN);
  run(c.samples, {.dattention = actual.data()});
  check_close(actual, dattention, 1e-4);
}

TEST_CASE("cells are mixed into float32 and bfloat16 weights of any layout, and taken apart again") {
  for (const Case& c : kCases) {
    CAPTURE(c.cells);
    CAPTURE(c.ce);
    for (const int threads : {1, 3}) {
      for (const cpu::MixingKernels* kernels : runnable_kernels()) {
        check_mix<float>(c, threads, *kernels);
        check_mix<uint16_t>(c, threads, *kernels);
        check_backward(c, threads, DataType::float32, *kernels);
        check_backward(c, threads, DataType::bfloat16, *kernels);
      }
      check_mix<uint16_t>(c, threads, cpu::emulated::mixing_kernels());
      check_backward(c, threads, DataType::bfloat16, cpu::emulated::mixing_kernels());
    }
  }
}

}  // namespace
}  // namespace kw::test
