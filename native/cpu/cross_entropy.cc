// Softmax cross-entropy with label smoothing, mean over the batch. Targets are class indices (int32 [N]) or probabilities (float32 [N, K]).
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "runtime/kernel_checks.h"

namespace kw::cpu {
namespace {

struct LossShape {
  int64_t samples;
  int64_t classes;
  bool class_targets;
  double smoothing;
};

LossShape check_shapes(const StepContext& context, const char* name, const Tensor& logits, const Tensor& targets) {
  expect_rank(context, name, logits, 2);
  const int64_t samples = logits.shape[0], classes = logits.shape[1];
  if (samples < 1 || classes < 1) context.fail(std::string("expected ") + name + " not to be empty but received " + describe(logits.shape));
  const bool class_targets = targets.type == DataType::int32;
  if (class_targets) {
    expect_shape(context, "targets", targets, {samples}, DataType::int32);
  } else {
    expect_shape(context, "targets", targets, {samples, classes});
  }
  const double smoothing = context.number("labelSmoothing");
  if (!(smoothing >= 0 && smoothing <= 1)) context.fail("expected labelSmoothing in [0, 1] but received " + std::to_string(smoothing));
  return {samples, classes, class_targets, smoothing};
}

// Classes are data, so they are checked at every run. Throws invalid_argument.
void check_classes(const Step& step, const int32_t* targets, const LossShape& shape) {
  for (int64_t sample = 0; sample < shape.samples; ++sample) {
    if (targets[sample] < 0 || targets[sample] >= shape.classes) {
      throw Error(ErrorCode::invalid_argument, "[" + step.op + "] " + step.label + ": expected targets in 0.." +
                                                   std::to_string(shape.classes - 1) + " but sample " + std::to_string(sample) +
                                                   " has target " + std::to_string(targets[sample]));
    }
  }
}

// Writes the softmax of one row; returns log(sum(exp(logits))).
double softmax(const float* logits, int64_t classes, float* probabilities) {
  const float largest = *std::max_element(logits, logits + classes);
  double sum = 0;
  for (int64_t k = 0; k < classes; ++k) {
    probabilities[k] = std::exp(logits[k] - largest);
    sum += probabilities[k];
  }
  const float factor = static_cast<float>(1 / sum);
  for (int64_t k = 0; k < classes; ++k) probabilities[k] *= factor;
  return largest + std::log(sum);
}

std::unique_ptr<Kernel> prepare_cross_entropy(const StepContext& context) {
  const Tensor &logits = context.input(0), &targets = context.input(1), &loss = context.output(0), &probabilities = context.output(1);
  const LossShape shape = check_shapes(context, "logits", logits, targets);
  expect_shape(context, "loss", loss, {});
  expect_shape(context, "probabilities", probabilities, logits.shape);
  context.reserve_scratch(static_cast<size_t>(shape.samples) * sizeof(double));
  return make_kernel([&, &step = context.step, shape, threads = context.threads](const Memory& memory) {
    const float* in = memory.data<float>(logits);
    float* out = memory.data<float>(probabilities);
    const int32_t* labels = shape.class_targets ? memory.data<int32_t>(targets) : nullptr;
    const float* weights = shape.class_targets ? nullptr : memory.data<float>(targets);
    double* losses = reinterpret_cast<double*>(memory.scratch());
    if (labels) check_classes(step, labels, shape);
    parallel_for(threads, shape.samples, std::max<int64_t>(1, 1024 / shape.classes), [=](int64_t begin, int64_t end) {
      const double uniform = shape.smoothing / static_cast<double>(shape.classes);
      for (int64_t sample = begin; sample < end; ++sample) {
        const float* row = in + sample * shape.classes;
        const double log_sum = softmax(row, shape.classes, out + sample * shape.classes);
        double sample_loss = 0;
        if (labels) {
          sample_loss = (1 - shape.smoothing) * (log_sum - row[labels[sample]]);
          if (uniform > 0) {
            for (int64_t k = 0; k < shape.classes; ++k) sample_loss += uniform * (log_sum - row[k]);
          }
        } else {
          const float* weight_row = weights + sample * shape.classes;
          for (int64_t k = 0; k < shape.classes; ++k) {
            sample_loss += ((1 - shape.smoothing) * weight_row[k] + uniform) * (log_sum - row[k]);
          }
        }
        losses[sample] = sample_loss;
      }
    });
    double total = 0;
    for (int64_t sample = 0; sample < shape.samples; ++sample) total += losses[sample];
    *memory.data<float>(loss) = static_cast<float>(total / static_cast<double>(shape.samples));
  });
}

// dlogits = dloss / N * (probabilities * sum(t) - t), t the smoothed targets.
std::unique_ptr<Kernel> prepare_cross_entropy_backward(const StepContext& context) {
  const Tensor &dloss = context.input(0), &probabilities = context.input(1), &targets = context.input(2), &dlogits = context.output(0);
  const LossShape shape = check_shapes(context, "probabilities", probabilities, targets);
  expect_shape(context, "dloss", dloss, {});
  expect_shape(context, "dlogits", dlogits, probabilities.shape);
  return make_kernel([&, &step = context.step, shape, threads = context.threads](const Memory& memory) {
    const float* in = memory.data<float>(probabilities);
    float* out = memory.data<float>(dlogits);
    const int32_t* labels = shape.class_targets ? memory.data<int32_t>(targets) : nullptr;
    const float* weights = shape.class_targets ? nullptr : memory.data<float>(targets);
    const float factor = *memory.data<float>(dloss) / static_cast<float>(shape.samples);
    if (labels) check_classes(step, labels, shape);
    parallel_for(threads, shape.samples, rows_per_thread(shape.classes), [=](int64_t begin, int64_t end) {
      const float uniform = static_cast<float>(shape.smoothing / static_cast<double>(shape.classes));
      const float sharp = static_cast<float>(1 - shape.smoothing);
      for (int64_t sample = begin; sample < end; ++sample) {
        const float* row = in + sample * shape.classes;
        float* out_row = out + sample * shape.classes;
        if (labels) {
#pragma omp simd
          for (int64_t k = 0; k < shape.classes; ++k) out_row[k] = factor * (row[k] - uniform);
          out_row[labels[sample]] -= factor * sharp;
        } else {
          const float* weight_row = weights + sample * shape.classes;
          double sum = 0;
          for (int64_t k = 0; k < shape.classes; ++k) sum += weight_row[k];
          const float total = static_cast<float>((1 - shape.smoothing) * sum + shape.smoothing);
#pragma omp simd
          for (int64_t k = 0; k < shape.classes; ++k) out_row[k] = factor * (row[k] * total - (sharp * weight_row[k] + uniform));
        }
      }
    });
  });
}

}  // namespace

void add_cross_entropy(KernelRegistry& registry) {
  registry.add("cross_entropy", prepare_cross_entropy);
  registry.add("cross_entropy_backward", prepare_cross_entropy_backward);
}

}  // namespace kw::cpu
