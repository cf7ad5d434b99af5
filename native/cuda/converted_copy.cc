#include "cuda/converted_copy.h"

namespace kw::cuda {

ConvertedCopies& converted_copies(ProgramResources& resources) {
  auto& slot = resources.shared["converted copies"];
  if (!slot) slot = std::make_shared<ConvertedCopies>();
  return *std::static_pointer_cast<ConvertedCopies>(slot);
}

std::shared_ptr<ConvertedCopy> converted_copy(const KernelContext& context, const std::string& key, const Tensor& source, size_t bytes,
                                              Conversion convert) {
  const std::string name = "converted copy " + key + " of " + std::to_string(source.buffer) + " " + std::to_string(source.offset);
  const auto copy = context.shared<ConvertedCopy>(name, [&] {
    auto made = std::make_shared<ConvertedCopy>(source, bytes, std::move(convert));
    converted_copies(context.resources).push_back(made);
    context.resources.prepared_bytes += bytes;
    return made;
  });
  copy->readers.push_back(static_cast<size_t>(&context.step - context.plan.steps.data()));
  return copy;
}

}  // namespace kw::cuda
