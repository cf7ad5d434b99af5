// What this processor can do beyond what compilers can be asked for.
#pragma once

namespace kw::cpu {

// Whether matrix tiles multiply bfloat16 (AMX) here, and vectors convert to it. The first call asks the operating system for the tiles'
// state on behalf of the process.
bool has_bfloat16_tiles();

}  // namespace kw::cpu
