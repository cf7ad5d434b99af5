// Softmax cross-entropy with label smoothing, mean over the batch. Targets are class indices (int32 [N]) or probabilities (float32 [N, K]).
#include <algorithm>
#include <cmath>

#include "cpu/cpu_backend.h"
#include "cpu/parallel.h"
#include "ops/op_list.h"

namespace kw::cpu {
namespace {

// Classes are data, so they are checked at every run. Throws invalid_argument.
void check_classes(const Step& step, const int32_t* targets, const LossShape& shape) {
  for (int64_t sample = 0; sample < shape.samples; ++sample) {
    if (targets[sample] < 0 || targets[sample] >= shape.classes) {
      throw data_error(step, "expected targets in 0.." + std::to_string(shape.classes - 1) + " but sample " + std::to_string(sample) +
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

std::unique_ptr<Kernel> prepare_cross_entropy(const CrossEntropyStep& step, const KernelContext& context) {
  context.reserve_scratch(static_cast<size_t>(step.shape.samples) * sizeof(double));
  return make_kernel([step, &plan_step = context.step, threads = context.threads](const Memory& memory) {
    const LossShape shape = step.shape;
    const float* in = memory.data<float>(step.logits);
    float* out = memory.data<float>(step.probabilities);
    const int32_t* labels = shape.class_targets ? memory.data<int32_t>(step.targets) : nullptr;
    const float* weights = shape.class_targets ? nullptr : memory.data<float>(step.targets);
    double* losses = reinterpret_cast<double*>(memory.scratch());
    if (labels) check_classes(plan_step, labels, shape);
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
    *memory.data<float>(step.loss) = static_cast<float>(total / static_cast<double>(shape.samples));
  });
}

// dlogits = dloss / N * (probabilities * sum(t) - t), t the smoothed targets.
std::unique_ptr<Kernel> prepare_cross_entropy_backward(const CrossEntropyBackwardStep& step, const KernelContext& context) {
  return make_kernel([step, &plan_step = context.step, threads = context.threads](const Memory& memory) {
    const LossShape shape = step.shape;
    const float* in = memory.data<float>(step.probabilities);
    float* out = memory.data<float>(step.dlogits);
    const int32_t* labels = shape.class_targets ? memory.data<int32_t>(step.targets) : nullptr;
    const float* weights = shape.class_targets ? nullptr : memory.data<float>(step.targets);
    const float factor = *memory.data<float>(step.dloss) / static_cast<float>(shape.samples);
    if (labels) check_classes(plan_step, labels, shape);
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
  add_kernel(registry, ops::cross_entropy, prepare_cross_entropy);
  add_kernel(registry, ops::cross_entropy_backward, prepare_cross_entropy_backward);
}

}  // namespace kw::cpu
