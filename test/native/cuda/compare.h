// Compares an op of the CUDA backend with the CPU's, on the emulated device in several schedules. The same tests run on a GPU.
#pragma once

#include <cuda_runtime.h>
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "../op_runner.h"
#include "cuda/cuda_backend.h"
#include "serving_libraries.h"
#ifdef KW_EMULATOR
#include "../emulator/options.h"
#endif

namespace kw::test {

/** The device of these tests, opened once. */
inline Device& gpu() {
  static Device device("test", cuda::open_backend({}));
  return device;
}

/**
 * How far results may lie apart: `relative` times the magnitude, which is the element's plus the tensor's mean plus that of the `terms`
 * whose difference the result is, where they cancel but for their rounding errors.
 */
struct Tolerance {
  Tolerance(double relative, double terms = 0) : relative(relative), terms(terms) {}
  double relative, terms;
};

/**
 * Checks `actual` against `expected`, elements of tensors of the same type. Where anything may differ at all, an element of bfloat16 may be
 * the next one, since the sum behind it may lie at the border between them. A NaN agrees with a NaN. Tolerance 0: only the same number
 * agrees.
 */
inline void check_values(const std::string& what, const Floats& actual, const Floats& expected, DataType type, Tolerance tolerance) {
  REQUIRE(actual.size() == expected.size());
  double sum = 0;
  size_t finite = 0;
  for (const float value : expected) {
    if (std::isfinite(value)) sum += std::fabs(value), ++finite;
  }
  const double mean = finite > 0 ? sum / static_cast<double>(finite) : 0;
  const double spacing = tolerance.relative > 0 && type == DataType::bfloat16 ? 0x1p-7 : 0;
  double worst = 0;
  size_t where = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    if (actual[i] == expected[i] || (std::isnan(actual[i]) && std::isnan(expected[i]))) continue;
    const double error = std::fabs(static_cast<double>(actual[i]) - expected[i]);
    const double allowed = tolerance.relative * (std::fabs(expected[i]) + mean + tolerance.terms) + spacing * std::fabs(expected[i]);
    const double excess = error <= allowed ? 0 : allowed > 0 && std::isfinite(error) ? error / allowed : HUGE_VAL;
    if (excess > worst) worst = excess, where = i;
  }
  CHECK_MESSAGE(worst == 0, what, ", element ", where, " of ", actual.size(), ": ", actual[where], " instead of ", expected[where], ", ",
                worst, " times as far as allowed");
}

/** Calls `body` for each order of threads and each moment of asynchronous work that the emulator knows; on a GPU once. */
template <class Body>
void for_each_schedule(const Body& body) {
#ifdef KW_EMULATOR
  using emulator::Moment;
  using emulator::Schedule;
  const emulator::Options before = emulator::options();
  const std::pair<Schedule, Moment> modes[] = {
      {Schedule::forward, Moment::late}, {Schedule::reverse, Moment::early}, {Schedule::random, Moment::late}};
  for (const auto& [schedule, copies] : modes) {
    emulator::options().schedule = schedule;
    emulator::options().copies = copies;
    body();
  }
  emulator::options() = before;
#else
  body();
#endif
}

/** Every tensor of `actual` must be as in `expected`, within `tolerance` (check_values), integers exactly. */
inline void check_tensors(const OpRunner& actual, const OpRunner& expected, Tolerance tolerance) {
  for (size_t index = 0; index < actual.plan().tensors.size(); ++index) {
    const int tensor = static_cast<int>(index);
    const std::string what = actual.step().op + ", tensor " + std::to_string(index) + " of the plan";
    const DataType type = actual.plan().tensors[index].type;
    if (type == DataType::int32) {
      CHECK_MESSAGE(actual.tensor_integers(tensor) == expected.tensor_integers(tensor), what);
    } else {
      check_values(what, actual.tensor_floats(tensor), expected.tensor_floats(tensor), type, tolerance);
    }
  }
}

/** Whether there are libraries for some shapes of this op. */
inline bool may_use_libraries(const std::string& op) { return op.find("conv") != std::string::npos || op == "matmul"; }

/** Runs `op` on the CPU and on the device. Every tensor must be as on the CPU afterwards: outputs,
 * mutated inputs, and those that stay as they were. All schedules must give the same bits. Where libraries may serve, once more with them.
 * Returns the device's results.
 */
inline OpRunner check_on_gpu(const OpRunner& op, Tolerance tolerance, Device& device = gpu()) {
  OpRunner expected = op;
  expected.run_on(1);
  OpRunner actual = op;
  bool is_first = true;
  for_each_schedule([&] {
    OpRunner again = op;
    again.run_on(device);
    if (is_first) {
      actual = again;
    } else {
      CHECK_MESSAGE(again.contents() == actual.contents(), op.step().op, " differs between schedules");
    }
    is_first = false;
  });
  check_tensors(actual, expected, tolerance);
  if (kHasStandIns && may_use_libraries(op.step().op)) {
    ServingLibraries libraries;
    INFO("with libraries");
    OpRunner with_libraries = op;
    with_libraries.run_on(libraries.device());
    check_tensors(with_libraries, expected, tolerance);
  }
  return actual;
}

/** Preparing `op` fails on the device with the same message as on the CPU. */
inline void check_refused_as_on_cpu(OpRunner op) {
  std::string message;
  try {
    OpRunner(op).run_on(1);
  } catch (const Error& error) {
    message = error.what();
  }
  REQUIRE(message != "");
  CHECK_THROWS_WITH_AS(op.run_on(gpu()), message.c_str(), Error);
}

}  // namespace kw::test
