// What is wrong with a kernel, as found while it ran.
#pragma once

#include <source_location>
#include <string>

namespace kw::emulator {

/** The kinds that CUDA's status codes distinguish. */
enum class FaultKind { illegal_address, misaligned_address, launch_failure };

struct Fault {
  FaultKind kind;
  /** Names kernel, block and thread. */
  std::string description;
};

/** A line of a kernel's source: where a thread called into the emulator. */
using Location = std::source_location;

/** "mixing.cuh:123" */
std::string describe(Location location);

/** "kw::cuda::mix<64>(...)", from the symbols of the program or library that it is in; "kernel" without symbols. */
std::string function_name(const void* function);

/** The same as the linker knows it; empty without symbols. */
std::string symbol_name(const void* function);

/**
 * Makes the process report a fault of a kernel (an access to memory that it may not touch, an integer division by zero) as a Fault of the
 * block that runs, and pass on all other faults. Others who want the same signals may have come since the last call, so every grid calls
 * it.
 */
void catch_signals();

/** Gives this thread of the operating system a stack for the handler of those signals. */
void prepare_signal_stack();

}  // namespace kw::emulator
