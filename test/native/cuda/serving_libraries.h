// Stand-ins for cuDNN and cuBLASLt on the emulated device (stand_ins/). They serve while a ServingLibraries lives; otherwise, and on a GPU,
// where the real ones serve or do not for all tests, nothing of this is there.
#pragma once

#include <memory>

#include "../op_runner.h"
#include "cuda/cuda_backend.h"
#ifdef KW_STAND_INS
#include "stand_ins/state.h"
#endif

namespace kw::test {

#ifdef KW_STAND_INS

inline constexpr bool kHasStandIns = true;

/** What the tests and the stand-ins share. Both libraries are opened at the first call, and found by the search from then on. */
stand_ins::State& stand_in_state();

#else

inline constexpr bool kHasStandIns = false;

#endif

/** A device of its own that computes with the libraries. Afterwards nothing may have been wrong with the calls. */
class ServingLibraries {
 public:
#ifdef KW_STAND_INS
  explicit ServingLibraries(bool tf32 = false) : device_("test", cuda::open_backend({.tf32 = tf32})) {
    stand_in_state() = {.serves = true, .queue = stand_in_state().queue};
  }
  ~ServingLibraries() {
    for (const std::string& complaint : stand_in_state().complaints) FAIL_CHECK(complaint);
    stand_in_state().serves = false;
  }
#else
  explicit ServingLibraries(bool tf32 = false) : device_("test", cuda::open_backend({.tf32 = tf32})) {}
#endif
  Device& device() { return device_; }

 private:
  Device device_;
};

}  // namespace kw::test
