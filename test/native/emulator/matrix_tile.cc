#include "emulator/matrix_tile.h"

namespace kw::emulator {
namespace {

struct LoadOperand {
  const std::uint16_t* row;
  bool transposed;
  std::uint32_t fragment[4];
};

void load_matrices(void* const* operands, std::uint32_t) {
  for (int matrix = 0; matrix < 4; ++matrix) {
    const std::uint16_t* rows[8];
    for (int row = 0; row < 8; ++row) rows[row] = static_cast<LoadOperand*>(operands[matrix * 8 + row])->row;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      auto& own = *static_cast<LoadOperand*>(operands[lane]);
      const int line = lane / 4;
      const int pair = lane % 4 * 2;
      const std::uint32_t low = own.transposed ? rows[pair][line] : rows[line][pair];
      const std::uint32_t high = own.transposed ? rows[pair + 1][line] : rows[line][pair + 1];
      own.fragment[matrix] = high << 16 | low;
    }
  }
}

}  // namespace

void load_matrix(std::uint32_t (&fragment)[4], const void* row, bool transposed, Location location) {
  constexpr std::size_t kRowBytes = 16;
  const char* activity = transposed ? "load_matrix_x4_transposed" : "load_matrix_x4";
  Block& block = *current_block;
  block.enter(activity, location);
  if (reinterpret_cast<std::uintptr_t>(row) % kRowBytes != 0) {
    block.fail(FaultKind::misaligned_address,
               std::string(activity) + " at " + describe(location) + ": the row is not at a multiple of 16 bytes");
  }
  if (!block.shared().contains(row, kRowBytes)) {
    block.fail(FaultKind::illegal_address,
               std::string(activity) + " at " + describe(location) + ": the row is not in the block's shared memory");
  }
  LoadOperand operand{static_cast<const std::uint16_t*>(row), transposed, {}};
  block.meet(activity, location, &operand, load_matrices, true);
  std::memcpy(fragment, operand.fragment, sizeof fragment);
}

}  // namespace kw::emulator
