// What an op is to a backend: a name in plans, and the type that its steps are read as.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "ops/checks.h"

namespace kw {

// `Step` is made of a StepContext, reads the step's tensors and attributes, and refuses what does not fit (invalid_plan). It may have a
// list `in_place`.
template <class Step>
struct Op {
  const char* name;
};

template <class Step>
std::vector<InPlace> in_place_of() {
  if constexpr (requires { Step::in_place; }) return {std::begin(Step::in_place), std::end(Step::in_place)};
  return {};
}

// Adds prepare(step, context) to the kernels of a backend: it gets a step that has been read and checked, and returns its kernel.
template <class Step, class Prepare>
void add_kernel(KernelRegistry& registry, Op<Step> op, Prepare prepare) {
  registry.add(op.name, [prepare = std::move(prepare)](const StepContext& context) -> std::unique_ptr<Kernel> {
    const Step step(context);
    expect_apart(context, in_place_of<Step>());
    return prepare(step, static_cast<const KernelContext&>(context));
  });
}

}  // namespace kw
