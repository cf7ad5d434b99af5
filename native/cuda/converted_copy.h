// Copies of parameters in another type or layout, such as cells rounded to bfloat16. A copy is made again when its source has changed:
// between runs where the program only reads the parameter, and within the recorded run, right before the next reader, where a step of
// the program (the optimizer) writes it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/device_array.h"
#include "runtime/backend.h"

namespace kw::cuda {

// Queues kernels that fill `destination` from the parameter.
using Conversion = std::function<void(const Memory& memory, const DeviceArray& destination)>;

class ConvertedCopy {
 public:
  ConvertedCopy(const Tensor& source, size_t bytes, Conversion convert) : source_(source), data_(bytes), convert_(std::move(convert)) {}

  template <class T>
  T* data() const {
    return data_.data<T>();
  }
  const Tensor& source() const { return source_; }
  void renew(const Memory& memory) const { convert_(memory, data_); }

  std::vector<size_t> readers;  // steps, ascending
  uint64_t version = 0;         // of the source when it was last renewed between runs
  const void* base = nullptr;   // the same

 private:
  const Tensor& source_;
  const DeviceArray data_;
  const Conversion convert_;
};

using ConvertedCopies = std::vector<std::shared_ptr<ConvertedCopy>>;

// The program's copy of `source` under `key` (one for each way to convert it), made on first use; the current step becomes one of its
// readers. Its bytes count as the program's prepared memory.
std::shared_ptr<ConvertedCopy> converted_copy(const KernelContext& context, const std::string& key, const Tensor& source, size_t bytes,
                                              Conversion convert);

// All that the program's kernels asked for.
ConvertedCopies& converted_copies(ProgramResources& resources);

}  // namespace kw::cuda
