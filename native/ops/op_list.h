// Every op of a plan, once, family by family: its name and the type that its steps are read as. Backends register their kernels by these
// names (ops::add, ...), and the tests compare both backends, the graph's registry and the table in docs/ with this list.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/convolution.h"
#include "ops/cross_entropy.h"
#include "ops/dropout.h"
#include "ops/elementwise.h"
#include "ops/matmul.h"
#include "ops/mixing.h"
#include "ops/multiply.h"
#include "ops/normalization.h"
#include "ops/optimizers.h"
#include "ops/pooling.h"
#include "ops/reductions.h"
#include "ops/self_attention.h"
#include "ops/transpose.h"

#define KW_FOR_EACH_OP(OP)  \
  KW_ACTIVATION_OPS(OP)     \
  KW_ATTENTION_OPS(OP)      \
  KW_CONVOLUTION_OPS(OP)    \
  KW_CROSS_ENTROPY_OPS(OP)  \
  KW_DROPOUT_OPS(OP)        \
  KW_ELEMENTWISE_OPS(OP)    \
  KW_MATMUL_OPS(OP)         \
  KW_MIXING_OPS(OP)         \
  KW_MULTIPLY_OPS(OP)       \
  KW_NORMALIZATION_OPS(OP)  \
  KW_OPTIMIZERS_OPS(OP)     \
  KW_POOLING_OPS(OP)        \
  KW_REDUCTIONS_OPS(OP)     \
  KW_SELF_ATTENTION_OPS(OP) \
  KW_TRANSPOSE_OPS(OP)

namespace kw {

namespace ops {

#define KW_DEFINE_OP(name, Step) inline constexpr Op<Step> name{#name};
KW_FOR_EACH_OP(KW_DEFINE_OP)
#undef KW_DEFINE_OP

}  // namespace ops

// In the order of the alphabet.
inline std::vector<std::string> op_names() {
#define KW_NAME_OF_OP(name, Step) #name,
  std::vector<std::string> names = {KW_FOR_EACH_OP(KW_NAME_OF_OP)};
#undef KW_NAME_OF_OP
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace kw
