// attention_function, attention_module and self_attention, on the device as on the CPU.
#include "compare.h"

namespace kw::test {
namespace {

constexpr double kTolerance = 4e-6;
const std::vector<std::string> kFunctions = {"contrasting", "softmax", "sigmoid", "rectified"};

struct Logits {
  int64_t samples, mixtures, cells;
  bool zero_cell = true;

  Shape wide() const { return {samples, mixtures, cells + zero_cell}; }
  Shape narrow() const { return {samples, mixtures, cells}; }
};

// One cell, the zero cell (or the last), none, two cells, in turn.
nlohmann::json assignment_of(const Logits& of) {
  const std::vector<nlohmann::json> kinds = {{of.cells - 1}, {of.wide()[2] - 1}, nlohmann::json::array(), {0, of.cells - 1}};
  nlohmann::json assignment = nlohmann::json::array();
  for (int64_t mixture = 0; mixture < of.mixtures; ++mixture) assignment.push_back(kinds[static_cast<size_t>(mixture % 4)]);
  return assignment;
}

TEST_CASE("attention_function on the device, and its gradient") {
  for (const Logits& of : {Logits{1, 1, 1}, {3, 4, 7}, {2, 5, 31}, {2, 3, 130}, {0, 2, 3}, {3, 1, 4, false}, {2, 3, 32, false}}) {
    Floats logits = random_floats(size_of(of.wide()), 12);
    if (!logits.empty()) logits[0] = 0;
    for (const std::string& name : kFunctions) {
      for (const nlohmann::json& assigned : {assignment_of(of), nlohmann::json::array()}) {
        CAPTURE(name);
        CAPTURE(of.cells);
        const nlohmann::json attributes = {{"function", name}, {"assignment", assigned}, {"epsilon", 1e-3}, {"zeroCell", of.zero_cell}};
        OpRunner forward("attention_function", attributes), backward("attention_function_backward", attributes);
        forward.input(of.wide(), logits).input({}, Floats{0.3f});
        backward.input(of.narrow(), random_floats(size_of(of.narrow()), 13)).input(of.wide(), logits).input({}, Floats{0.3f});
        if (!of.zero_cell) forward.input({}, Floats{4.5f}), backward.input({}, Floats{4.5f});
        check_on_gpu(forward.output(of.narrow()), kTolerance);
        check_on_gpu(OpRunner(backward).output(of.wide()), kTolerance);
        if (of.cells == 31) check_on_gpu(backward.output_in_place(1), kTolerance);
      }
    }
  }
}

TEST_CASE("attention_function on the device: large logits and a NaN") {
  for (const std::string& name : kFunctions) {
    for (const Floats& z : std::vector<Floats>{{1000, -1000, 0}, {-1000, -1000, 1000}, {1, NAN, 2}, {1, 2, NAN}}) {
      OpRunner op("attention_function",
                  {{"function", name}, {"assignment", nlohmann::json::array()}, {"epsilon", 1e-3}, {"zeroCell", true}});
      check_on_gpu(op.input({1, 1, 3}, z).input({}, Floats{1}).output({1, 1, 2}), kTolerance);
    }
  }
}

TEST_CASE("attention functions on the device refuse what the CPU refuses") {
  const auto attend = [](const char* name, const nlohmann::json& assignment, const Shape& wide, const Shape& narrow) {
    OpRunner op("attention_function", {{"function", name}, {"assignment", assignment}, {"epsilon", 1e-3}, {"zeroCell", true}});
    check_refused_as_on_cpu(op.input(wide, Floats(static_cast<size_t>(size_of(wide)))).input({}, Floats{0}).output(narrow));
  };
  attend("tanh", {{0}}, {1, 1, 2}, {1, 1, 1});
  attend("softmax", {{2}}, {1, 1, 2}, {1, 1, 1});
  attend("softmax", {{0}, {1}}, {1, 1, 2}, {1, 1, 1});
  attend("softmax", {{0}}, {1, 1, 1}, {1, 1, 0});
  attend("softmax", {{0}}, {1, 1, 3}, {1, 1, 1});
  for (const Shape& divisor : std::vector<Shape>{{}, {1}}) {
    OpRunner undivided("attention_function", {{"function", "softmax"}, {"assignment", {{2}}}, {"epsilon", 1e-3}, {"zeroCell", false}});
    undivided.input({1, 1, 2}, Floats(2)).input({}, Floats{0}).input(divisor, Floats{1});
    check_refused_as_on_cpu(undivided.output({1, 1, 2}));
  }
  OpRunner backward("attention_function_backward", {{"function", "softmax"}, {"assignment", {{0}}}, {"epsilon", 1e-3}, {"zeroCell", true}});
  check_refused_as_on_cpu(backward.input({1, 1, 1}, Floats(1)).input({1, 1, 2}, Floats(2)).input({}, Floats{0}).output({1, 1, 3}));
}

struct Module {
  int64_t samples, channels, hidden;
  Logits logits;
  bool first_bias;
  enum Norm { batch, layer, none } norm;
  std::string function;
  int64_t offset;

  OpRunner op(const nlohmann::json& assignment) const {
    OpRunner runner(
        "attention_module",
        {{"function", function}, {"assignment", assignment}, {"epsilon", 1e-3}, {"normEpsilon", 1e-5}, {"zeroCell", logits.zero_cell}});
    auto add = [&, seed = 1u](const Shape& shape, float mean) mutable {
      const float spread = 1 / std::sqrt(static_cast<float>(shape.back()));
      runner.input(shape, random_floats(size_of(shape), seed++, mean, shape.size() > 1 ? spread : 0.2f));
    };
    runner.at_offset(offset);
    add({samples, channels}, 0.5f);
    add({hidden, channels}, 0);
    first_bias ? add({hidden}, 0) : static_cast<void>(runner.no_input());
    for (const float mean : {1.0f, 0.3f}) norm == none ? static_cast<void>(runner.no_input()) : add({hidden}, mean);
    for (const float mean : {0.1f, 1.0f}) norm != batch ? static_cast<void>(runner.no_input()) : add({hidden}, mean);
    const int64_t count = logits.mixtures * logits.wide()[2];
    add({count, hidden}, 0);
    add({count}, 0);
    runner.input({}, Floats{0.4f});
    if (!logits.zero_cell) runner.input({}, Floats{4.5f});
    return runner.output({samples, logits.mixtures, logits.cells});
  }
};

TEST_CASE("attention_module on the device") {
  // more samples, hidden units, logits and mixtures than a block has of each; packs and not; both norms
  for (const Module& of : std::vector<Module>{{1, 3, 1, {1, 1, 1}, true, Module::batch, "contrasting", 0},
                                              {9, 67, 5, {9, 3, 7}, false, Module::batch, "softmax", 0},
                                              {2, 64, 16, {2, 10, 40}, false, Module::batch, "contrasting", 0},
                                              {2, 64, 16, {2, 2, 300}, true, Module::layer, "sigmoid", 4},
                                              {17, 160, 24, {17, 2, 31}, true, Module::layer, "rectified", 0},
                                              {9, 64, 16, {9, 1, 4, false}, true, Module::none, "softmax", 0},
                                              {3, 12, 3, {3, 1, 4, false}, true, Module::none, "contrasting", 0},
                                              {0, 4, 4, {0, 2, 3}, true, Module::batch, "contrasting", 0}}) {
    CAPTURE(of.hidden);
    check_on_gpu(of.op(assignment_of(of.logits)), kTolerance);
    check_on_gpu(of.op(nlohmann::json::array()), kTolerance);
  }
}

TEST_CASE("attention_module on the device refuses what the CPU refuses") {
  Module of{2, 4, 3, {2, 2, 3}, true, Module::batch, "contrasting", 0};
  check_refused_as_on_cpu(of.op({{0}}));
  of.function = "tanh";
  check_refused_as_on_cpu(of.op({{0}, {1}}));
  // mean without variance, scale without shift, mean and variance without scale and shift
  for (const std::vector<bool>& given :
       std::vector<std::vector<bool>>{{true, true, true, false}, {true, false, true, true}, {false, false, true, true}}) {
    OpRunner half("attention_module",
                  {{"function", "softmax"}, {"assignment", {{0}}}, {"epsilon", 1e-3}, {"normEpsilon", 1e-5}, {"zeroCell", true}});
    half.input({1, 2}, Floats(2)).input({1, 2}, Floats(2)).no_input();
    for (const bool vector : given) vector ? half.input({1}, Floats(1)) : half.no_input();
    check_refused_as_on_cpu(half.input({2, 1}, Floats(2)).input({2}, Floats(2)).input({}, Floats{0}).output({1, 1, 1}));
  }
}

struct Tokens {
  int64_t samples, tokens, heads, width, offset;

  Shape shape() const { return {samples, tokens, heads * width}; }
  Shape rows() const { return {samples, heads, tokens}; }
  nlohmann::json attributes() const { return {{"heads", heads}}; }
  Floats values(unsigned seed) const { return random_floats(size_of(shape()), seed); }
};

OpRunner attend(const Tokens& of, const Floats& query) {
  OpRunner op("self_attention", of.attributes());
  op.at_offset(of.offset).input(of.shape(), query).input(of.shape(), of.values(2)).input(of.shape(), of.values(3));
  return op.output(of.shape()).output(of.rows());
}

TEST_CASE("self_attention on the device, and its gradient") {
  // around a tile of tokens; heads in packs and not; wider than a chunk of channels, by a whole one and by less
  for (const Tokens& of : {Tokens{1, 1, 1, 1, 0},
                           {2, 5, 3, 7, 0},
                           {1, 64, 2, 16, 4},
                           {2, 65, 1, 5, 0},
                           {1, 130, 2, 64, 0},
                           {1, 70, 2, 72, 0},
                           {1, 3, 1, 130, 0}}) {
    CAPTURE(of.tokens);
    CAPTURE(of.width);
    const OpRunner forward = attend(of, of.values(1)).run_on(1);
    check_on_gpu(attend(of, of.values(1)), kTolerance);
    OpRunner backward("self_attention_backward", of.attributes());
    backward.at_offset(of.offset);
    for (const unsigned seed : {4, 1, 2, 3}) backward.input(of.shape(), of.values(seed));
    backward.input(of.shape(), forward.floats(0)).input(of.rows(), forward.floats(1));
    check_on_gpu(backward.output(of.shape()).output(of.shape()).output(of.shape()), kTolerance);
  }
}

TEST_CASE("self_attention on the device: scores far beyond the range of exp, minus infinity and NaN") {
  const Tokens of{1, 70, 1, 4, 0};
  Floats query = of.values(1);
  for (float& value : query) value *= 1000;
  constexpr double kRounded = 1e-3;  // of exp, where a score in the thousands is rounded
  check_on_gpu(attend(of, query), kRounded);
  query[4] = NAN;
  const Floats y = check_on_gpu(attend(of, query), kRounded).floats();
  CHECK(std::isnan(y[4]));
  CHECK(!std::isnan(y[8]));
  // every key of the first tile is out of the question for the query, those of the second are not
  OpRunner masked("self_attention", of.attributes());
  Floats keys(280, -HUGE_VALF);
  std::fill(keys.begin() + 256, keys.end(), 0.5f);
  masked.input(of.shape(), Floats(280, 1)).input(of.shape(), keys).input(of.shape(), of.values(3)).output(of.shape()).output(of.rows());
  CHECK(std::isfinite(check_on_gpu(masked, kTolerance).floats()[0]));
}

TEST_CASE("self_attention on the device refuses what the CPU refuses") {
  const Tokens of{1, 2, 1, 3, 0};
  const auto op = [&](int64_t heads, const Shape& rows) {
    OpRunner runner("self_attention", {{"heads", heads}});
    for (const unsigned seed : {1, 2, 3}) runner.input(of.shape(), of.values(seed));
    return runner.output(of.shape()).output(rows);
  };
  check_refused_as_on_cpu(op(2, {1, 2, 2}));
  check_refused_as_on_cpu(op(0, {1, 1, 2}));
  check_refused_as_on_cpu(op(1, {1, 2, 1}));
  OpRunner backward("self_attention_backward", of.attributes());
  for (const unsigned seed : {1, 2, 3, 4, 5}) backward.input(of.shape(), of.values(seed));
  backward.input(of.rows(), Floats(2)).output(of.shape()).output(of.shape());
  check_refused_as_on_cpu(backward.output({1, 2, 4}));
}

}  // namespace
}  // namespace kw::test
