// The blocks of a grid over the threads of the operating system.
#pragma once

#include <optional>

#include "emulator/block.h"

namespace kw::emulator {

/** Runs all blocks of a launch, in the order of the schedule; one grid at a time. The result is what went wrong first. */
std::optional<Fault> run_grid(const Launch& launch);

}  // namespace kw::emulator
