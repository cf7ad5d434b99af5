// attention_function and self_attention of the CPU backend: values against naive double implementations, gradients against their
// differences.
#include "op_runner.h"

namespace kw::test {
namespace {

Doubles reference_function(const std::string& name, const Doubles& z, double epsilon) {
  double magnitude = epsilon, powers = 0;
  for (const double value : z) magnitude += std::fabs(value), powers += std::exp(value);
  Doubles f;
  for (const double value : z) {
    f.push_back(name == "contrasting" ? value / magnitude
                : name == "rectified" ? std::max(value, 0.0) / magnitude
                : name == "softmax"   ? std::exp(value) / powers
                                      : 1 / (1 + std::exp(-value)));
  }
  return f;
}

// Rows of n + 1 logits, without a zero cell n, to rows of n attentions. `divisor` is the softmax temperature.
Doubles reference_attention(const nlohmann::json& attributes, const Doubles& logits, size_t mixtures, size_t cells, double temperature,
                            double divisor) {
  const nlohmann::json& assignment = attributes["assignment"];
  const std::string name = attributes["function"];
  const double share = assignment.empty() ? 0 : temperature;
  const size_t columns = cells + (attributes["zeroCell"].get<bool>() ? 1 : 0);
  Doubles attention;
  for (size_t row = 0; row < logits.size() / columns; ++row) {
    const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(row * columns);
    Doubles z(begin, begin + static_cast<std::ptrdiff_t>(columns));
    if (name == "softmax" || name == "sigmoid") {
      for (double& value : z) value /= divisor;
    }
    const Doubles f = reference_function(name, z, 1e-3);
    for (size_t j = 0; j < cells; ++j) {
      const auto is_assigned = [&](const nlohmann::json& of) { return std::count(of.begin(), of.end(), nlohmann::json(j)) > 0; };
      const double beta = !assignment.empty() && is_assigned(assignment[row % mixtures]);
      attention.push_back((1 - share) * f[j] + share * beta);
    }
  }
  return attention;
}

TEST_CASE("attention_function and its gradient") {
  for (const auto& [samples, mixtures, cells] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{{1, 1, 1}, {3, 4, 7}, {40, 9, 130}}) {
    const bool zero_cell = cells != 7;
    const Shape wide = {samples, mixtures, cells + zero_cell}, narrow = {samples, mixtures, cells};
    Floats logits = random_floats(size_of(wide), 12);
    logits[0] = 0;
    const Floats dattention = random_floats(size_of(narrow), 13);
    nlohmann::json assignment = nlohmann::json::array();
    // one cell, the zero cell, none, two cells, in turn
    const std::vector<nlohmann::json> kinds = {{cells - 1}, {wide[2] - 1}, nlohmann::json::array(), {0, cells - 1}};
    for (int64_t mixture = 0; mixture < mixtures; ++mixture) assignment.push_back(kinds[static_cast<size_t>(mixture % 4)]);
    for (const std::string name : {"contrasting", "softmax", "sigmoid", "rectified"}) {
      for (const float temperature : {0.0f, 0.5f, 1.0f}) {
        for (const nlohmann::json& assigned : {assignment, nlohmann::json::array()}) {
          CAPTURE(name);
          CAPTURE(temperature);
          const nlohmann::json attributes = {{"function", name}, {"assignment", assigned}, {"epsilon", 1e-3}, {"zeroCell", zero_cell}};
          // 30 as in a DY-Conv at the beginning of training
          const float divisor = temperature == 0.5f ? 30.0f : 1.0f;
          const auto reference = [&, mixtures = static_cast<size_t>(mixtures), cells = static_cast<size_t>(cells)](const Doubles& z) {
            return reference_attention(attributes, z, mixtures, cells, temperature, divisor);
          };
          OpRunner forward("attention_function", attributes);
          forward.input(wide, logits).input({}, Floats{temperature});
          if (divisor != 1) forward.input({}, Floats{divisor});
          forward.output(narrow).run();
          check_close(forward.floats(), reference(widen(logits)), 1e-6);
          OpRunner backward("attention_function_backward", attributes);
          backward.input(narrow, dattention).input(wide, logits).input({}, Floats{temperature});
          if (divisor != 1) backward.input({}, Floats{divisor});
          backward.output(wide).run();
          Floats gradient = backward.floats(), point = logits;
          // at z = 0 some have a kink and a gradient that is defined, not differentiated
          gradient.erase(gradient.begin());
          point.erase(point.begin());
          const auto loss = [&](Doubles z) {
            z.insert(z.begin(), 0.0);
            return weighted_sum(dattention, reference(z));
          };
          check_gradient(gradient, point, loss);
        }
      }
    }
  }
}

TEST_CASE("attention_function: large logits neither overflow nor leave the range") {
  const auto attend = [](const char* name, const Floats& logits) {
    const nlohmann::json attributes = {{"function", name}, {"assignment", nlohmann::json::array()}, {"epsilon", 1e-3}, {"zeroCell", true}};
    const Shape wide = {1, 1, static_cast<int64_t>(logits.size())}, narrow = {1, 1, wide[2] - 1};
    return OpRunner("attention_function", attributes).input(wide, logits).input({}, Floats{1}).output(narrow).run().floats();
  };
  CHECK(attend("softmax", {1000, -1000, 0}) == Floats{1, 0});
  CHECK(attend("softmax", {-1000, -1000, 1000}) == Floats{0, 0});
  CHECK(attend("sigmoid", {1000, -1000, 0}) == Floats{1, 0});
}

TEST_CASE("attention_function refuses what it does not know") {
  const auto attend = [](const char* name, const nlohmann::json& assignment, bool zero_cell = true, const Shape& divisor = {}) {
    OpRunner op("attention_function", {{"function", name}, {"assignment", assignment}, {"epsilon", 1e-3}, {"zeroCell", zero_cell}});
    op.input({1, 1, 2}, Floats{1, 2})
        .input({}, Floats{0})
        .input(divisor, Floats(static_cast<size_t>(size_of(divisor)), 1))
        .output({1, 1, zero_cell ? 1 : 2})
        .run();
  };
  CHECK_THROWS_WITH_AS(attend("tanh", {{0}}),
                       "[attention_function] test: expected function contrasting, softmax, sigmoid or rectified but received 'tanh'",
                       Error);
  CHECK_THROWS_WITH_AS(attend("softmax", {{2}}),
                       "[attention_function] test: expected cell indices in 0..1 but assignment of mixture 0 holds 2", Error);
  CHECK_THROWS_WITH_AS(attend("softmax", {{2}}, false),
                       "[attention_function] test: expected cell indices in 0..1 but assignment of mixture 0 holds 2", Error);
  CHECK_THROWS_AS(attend("softmax", {{1}}, false, {1}), Error);
  CHECK_THROWS_WITH_AS(attend("softmax", {{0}, {1}}),
                       "[attention_function] test: expected attribute assignment with 1 lists, or none, but received 2", Error);
}

struct Tokens {
  size_t samples, tokens, heads, width;

  size_t at(size_t sample, size_t token, size_t head) const { return ((sample * tokens + token) * heads + head) * width; }
  Shape shape() const { return {int64_t(samples), int64_t(tokens), int64_t(heads * width)}; }
  Shape rows() const { return {int64_t(samples), int64_t(heads), int64_t(tokens)}; }
};

struct Attended {
  Doubles y, log_sum_exp;
};

Attended reference_self_attention(const Tokens& t, const Doubles& q, const Doubles& k, const Doubles& v) {
  Attended result{Doubles(q.size(), 0.0), {}};
  for (size_t sample = 0; sample < t.samples; ++sample) {
    for (size_t head = 0; head < t.heads; ++head) {
      for (size_t i = 0; i < t.tokens; ++i) {
        Doubles scores(t.tokens, 0.0);
        double sum = 0;
        for (size_t j = 0; j < t.tokens; ++j) {
          for (size_t c = 0; c < t.width; ++c) scores[j] += q[t.at(sample, i, head) + c] * k[t.at(sample, j, head) + c];
          scores[j] /= std::sqrt(static_cast<double>(t.width));
          sum += std::exp(scores[j]);
        }
        result.log_sum_exp.push_back(std::log(sum));
        for (size_t j = 0; j < t.tokens; ++j) {
          const double p = std::exp(scores[j]) / sum;
          for (size_t c = 0; c < t.width; ++c) result.y[t.at(sample, i, head) + c] += p * v[t.at(sample, j, head) + c];
        }
      }
    }
  }
  return result;
}

TEST_CASE("self_attention and its gradient") {
  // around the block of queries, with heads and widths that are no multiple of a vector, and the size of a DeiT
  for (const Tokens& t : {Tokens{1, 1, 1, 1}, {2, 5, 3, 7}, {1, 64, 2, 16}, {2, 65, 1, 5}, {1, 197, 2, 64}}) {
    CAPTURE(t.tokens);
    const Shape shape = t.shape();
    const nlohmann::json attributes = {{"heads", t.heads}};
    const Floats q = random_floats(size_of(shape), 1), k = random_floats(size_of(shape), 2), v = random_floats(size_of(shape), 3);
    OpRunner forward("self_attention", attributes);
    forward.input(shape, q).input(shape, k).input(shape, v).output(shape).output(t.rows()).run();
    const Doubles wide_q = widen(q), wide_k = widen(k), wide_v = widen(v);
    const Attended expected = reference_self_attention(t, wide_q, wide_k, wide_v);
    check_close(forward.floats(0), expected.y, 3e-6);
    check_close(forward.floats(1), expected.log_sum_exp, 1e-6);

    const Floats dy = random_floats(size_of(shape), 4);
    OpRunner backward("self_attention_backward", attributes);
    backward.input(shape, dy).input(shape, q).input(shape, k).input(shape, v);
    backward.input(shape, forward.floats(0)).input(t.rows(), forward.floats(1)).output(shape).output(shape).output(shape).run();
    const auto loss = [&](const Doubles& q, const Doubles& k, const Doubles& v) {
      return weighted_sum(dy, reference_self_attention(t, q, k, v).y);
    };
    check_gradient(backward.floats(0), q, [&](const Doubles& moved) { return loss(moved, wide_k, wide_v); }, 1e-5);
    check_gradient(backward.floats(1), k, [&](const Doubles& moved) { return loss(wide_q, moved, wide_v); }, 1e-5);
    check_gradient(backward.floats(2), v, [&](const Doubles& moved) { return loss(wide_q, wide_k, moved); }, 1e-5);
  }
}

TEST_CASE("self_attention: scores far beyond the range of exp") {
  const Shape shape = {1, 2, 1};
  OpRunner op("self_attention", {{"heads", 1}});
  op.input(shape, Floats{100, -100}).input(shape, Floats{100, -100}).input(shape, Floats{1, 2}).output(shape).output({1, 1, 2}).run();
  CHECK(op.floats(0) == Floats{1, 2});
  CHECK(op.floats(1) == Floats{10000, 10000});
}

TEST_CASE("self_attention refuses heads that do not divide the channels") {
  const Shape shape = {1, 1, 3};
  OpRunner op("self_attention", {{"heads", 2}});
  op.input(shape, Floats(3)).input(shape, Floats(3)).input(shape, Floats(3)).output(shape).output({1, 2, 1});
  CHECK_THROWS_WITH_AS(op.run(),
                       "[self_attention] test: expected tokens [N, T, D], not empty, and heads that divide D, but received shape [1, 1, 3] "
                       "and 2 heads",
                       Error);
}

}  // namespace
}  // namespace kw::test
