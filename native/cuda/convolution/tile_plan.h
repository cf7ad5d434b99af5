// How a convolution pass by tiles is divided into blocks.
#pragma once

#include <cstdint>

namespace kw::cuda {

struct TilePlan {
  bool large = false;  // tiles of 128 where the addresses allow, else of 64
  int64_t parts = 1;   // of what is summed over, where there are too few tiles to keep the GPU busy
};

}  // namespace kw::cuda
