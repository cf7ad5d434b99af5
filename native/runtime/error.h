// Typed errors of the native side. Thrown anywhere below the C ABI and caught once there.
#pragma once

#include <stdexcept>
#include <string>

namespace kw {

enum class ErrorCode { invalid_argument, invalid_plan, unsupported, out_of_memory, not_bound, disposed, internal };

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace kw
