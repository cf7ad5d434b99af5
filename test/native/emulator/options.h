// How the emulator runs: read once from the environment (README.md lists the variables), changed by tests.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kw::emulator {

/** Which thread of a block, and which block, runs first. */
enum class Schedule { forward, reverse, random };

/** When asynchronous work is done: as late as the program allows, or at once. */
enum class Moment { late, early };

struct Options {
  Schedule schedule = Schedule::forward;
  std::uint32_t seed = 1;
  Moment copies = Moment::late;   // copy_async: at the wait, or where it is started
  Moment streams = Moment::late;  // work of a stream: when somebody waits for it, or where it is queued
  // Copies to the device over streams whose other work is late: as late, or as soon as what they were told to wait for is done.
  Moment transfers = Moment::late;
  int target = 90;  // compute capability times ten: 80 or 90
  int devices = 1;  // 0: as on a machine without one
  std::size_t memory = std::size_t{4} << 30;
  int cache_bytes = 50 << 20;  // of the L2 cache
  int threads = 0;             // of the operating system, for the blocks of a grid; 0: as many as there are processors
};

/** The options that the environment asks for. Throws std::runtime_error, naming the variable and what it may be. */
Options read_options();

/** The options in force. Change them only while nothing runs on the device. */
Options& options();

/** Largest shared memory of a block in bytes, on the target of the options. */
std::size_t shared_limit();

}  // namespace kw::emulator
