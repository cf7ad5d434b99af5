// Sample-wise convolutions by oneDNN: one sample for each thread, and those that are left over by all threads together.
#include "cpu/convolution/sample_convolution.h"

#include <omp.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace kw::cpu {

namespace {

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t float_bytes(int64_t count) { return aligned(static_cast<size_t>(count) * sizeof(float)); }

const std::byte* at(const void* first, int64_t elements, DataType type) {
  return static_cast<const std::byte*>(first) + elements * element_bytes(type);
}

dnnl::memory::desc blocks_of_16(const ConvolutionGeometry& g) {
  if (g.groups != 1 || g.kernel.size() != 2)
    throw Error(ErrorCode::unsupported, "blocks of 16 are for two spatial dimensions and one group");
  return {{g.out_channels, g.in_channels, g.kernel[0], g.kernel[1]}, dnnl::memory::data_type::f32, dnnl::memory::format_tag::ABcd16b16a};
}

class SamplewiseConvolution final : public SampleConvolution {
 public:
  SamplewiseConvolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, const Options& options);

  void run(const Samples& samples, std::byte* scratch) override;

 private:
  struct Worker {
    int threads;
    Convolution convolution;
    std::optional<Reorder> reorder;
  };
  ConvolutionOptions primitive_options() const;
  Worker make_worker(const ConvolutionGeometry& sample, int threads, const std::optional<dnnl::memory::desc>& weight) const;
  size_t scratchpad_bytes(const Worker& worker) const;
  dnnl_status_t run_sample(Worker& worker, const Samples& samples, int64_t sample, std::byte* scratch);
  dnnl_status_t convolve(Worker& worker, const void* x, const void* weight, const void* y, const Samples& samples, std::byte* scratch);

  ConvolutionPass pass_;
  int threads_;
  Options options_;
  ConvolutionTypes types_;  // that oneDNN computes with
  int64_t x_elements_, y_elements_, weight_elements_, out_channels_;
  bool widens_;                     // bfloat16 activations, float32 computation
  bool fused_;                      // oneDNN does the epilogue, but for the means
  bool staged_x_, staged_y_;        // pass through float32 memory
  std::vector<Worker> workers_;     // one for each thread
  std::optional<Worker> together_;  // runs one sample on all threads
  // Of a worker: its copy of x, of y, of its weight as bfloat16 keeps it, and of that in oneDNN's layout; then the scratchpads of whatever
  // runs.
  size_t staged_x_bytes_ = 0, staged_y_bytes_ = 0, rounded_bytes_ = 0, converted_bytes_ = 0;
  size_t worker_bytes_ = 0;
};

SamplewiseConvolution::SamplewiseConvolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, const Options& options)
    : pass_(pass),
      threads_(threads),
      options_(options),
      x_elements_(geometry.sample_elements()),
      y_elements_(geometry.out_sample_elements()),
      weight_elements_(geometry.weight_elements()),
      out_channels_(geometry.out_channels) {
  const ConvolutionGeometry sample = geometry.with_batch(1);
  std::optional<dnnl::memory::desc> wanted;
  if (options.weights == Options::Weights::blocks) wanted = blocks_of_16(sample);
  types_ = computed_types(sample, pass, 1, options.activations);
  widens_ = options.activations != types_.x;
  // A residual may lie where y is to be, which oneDNN would overwrite.
  fused_ = options.finishing && !options.finishing->residual && !widens_ &&
           scales_cheaply(sample, 1,
                          {.types = types_,
                           .weight = wanted,
                           .scales = true,
                           .activation = options.finishing->activation,
                           .mixed = options.weights != Options::Weights::plain});
  staged_x_ = widens_;
  staged_y_ = widens_ || (options.finishing && !fused_);
  if (staged_y_ && pass == ConvolutionPass::forward) types_.y = DataType::float32;
  if (staged_x_) staged_x_bytes_ = float_bytes(x_elements_);
  if (staged_y_) staged_y_bytes_ = float_bytes(y_elements_);

  if (geometry.batch >= threads) {
    for (int worker = 0; worker < threads; ++worker) workers_.push_back(make_worker(sample, 1, wanted));
    wanted = workers_.front().convolution.weight_desc();
  }
  if (threads > 1 && geometry.batch % threads != 0) {
    together_ = make_worker(sample, threads, wanted);
    // A foreign layout can cost oneDNN its fast implementation; then the rest is better left to single threads.
    if (!workers_.empty() && together_->convolution.implementation() != workers_.front().convolution.implementation()) together_.reset();
  }
  const Worker& any = workers_.empty() ? *together_ : workers_.front();
  if (options.weights == Options::Weights::blocks && any.convolution.slow()) {
    throw Error(ErrorCode::unsupported, "no fast convolution for weights in blocks of 16");
  }
  const bool plain = options.weights == Options::Weights::plain;
  const auto weight_desc = plain ? plain_weight_desc(sample) : any.convolution.weight_desc();
  weight_type_ = plain ? DataType::float32 : types_.weight;
  weight_bytes_ = weight_desc.get_size();
  if (sample.kernel.size() == 2) offsets_ = weight_offsets(weight_desc, sample);
  if (plain && widens_ && pass != ConvolutionPass::backward_weight) rounded_bytes_ = float_bytes(geometry.weight_elements());
  if (any.reorder) converted_bytes_ = aligned(any.convolution.weight_desc().get_size());
  const size_t copies = staged_x_bytes_ + staged_y_bytes_ + rounded_bytes_ + converted_bytes_;
  for (const Worker& worker : workers_) worker_bytes_ = std::max(worker_bytes_, copies + scratchpad_bytes(worker));
  scratch_bytes_ = worker_bytes_ * workers_.size();
  if (together_) scratch_bytes_ = std::max(scratch_bytes_, copies + scratchpad_bytes(*together_));
}

ConvolutionOptions SamplewiseConvolution::primitive_options() const {
  ConvolutionOptions options = {.has_bias = options_.has_bias, .types = types_};
  options.mixed = options_.weights != Options::Weights::plain;
  if (fused_) {
    options.scales = true;
    options.activation = options_.finishing->activation;
  }
  return options;
}

SamplewiseConvolution::Worker SamplewiseConvolution::make_worker(const ConvolutionGeometry& sample, int threads,
                                                                 const std::optional<dnnl::memory::desc>& weight) const {
  ConvolutionOptions options = primitive_options();
  options.weight = weight;
  Worker worker{threads, Convolution(sample, pass_, threads, options), std::nullopt};
  const auto plain = plain_weight_desc(sample);
  const auto& preferred = worker.convolution.weight_desc();
  if (options_.weights == Options::Weights::plain && preferred != plain) {
    const bool out = pass_ == ConvolutionPass::backward_weight;
    worker.reorder.emplace(out ? preferred : plain, out ? plain : preferred, threads);
  }
  return worker;
}

size_t SamplewiseConvolution::scratchpad_bytes(const Worker& worker) const {
  const size_t reorder = worker.reorder ? worker.reorder->scratchpad_bytes() : 0;
  const size_t finish = options_.finishing ? finish_scratch_bytes(worker.threads, out_channels_) : 0;
  return aligned(std::max({worker.convolution.scratchpad_bytes(), reorder, finish}));
}

// With the weight rounded and converted on its way in, or converted on its way out.
dnnl_status_t SamplewiseConvolution::convolve(Worker& worker, const void* x, const void* weight, const void* y, const Samples& samples,
                                              std::byte* scratch) {
  const ConvolutionVectors vectors = {samples.bias, fused_ ? samples.finish->epilogue.factor : nullptr,
                                      fused_ ? samples.finish->epilogue.shift : nullptr};
  if (rounded_bytes_ > 0) {
    auto* rounded = reinterpret_cast<float*>(scratch);
    round_to_bfloat16(worker.threads, static_cast<const float*>(weight), weight_elements_, rounded);
    weight = rounded;
    scratch += rounded_bytes_;
  }
  if (!worker.reorder) return worker.convolution.run(x, weight, y, vectors, scratch);
  std::byte* converted = scratch;
  std::byte* scratchpad = scratch + converted_bytes_;
  const bool out = pass_ == ConvolutionPass::backward_weight;
  if (!out) {
    const dnnl_status_t status = worker.reorder->run(weight, converted, scratchpad);
    if (status != dnnl_success) return status;
  }
  const dnnl_status_t status = worker.convolution.run(x, converted, y, vectors, scratchpad);
  if (status != dnnl_success || !out) return status;
  return worker.reorder->run(converted, const_cast<void*>(weight), scratchpad);
}

// With the activations converted and finished.
dnnl_status_t SamplewiseConvolution::run_sample(Worker& worker, const Samples& samples, int64_t sample, std::byte* scratch) {
  const DataType type = options_.activations;
  const void* x = at(samples.x, sample * x_elements_, type);
  const void* y = at(samples.y, sample * y_elements_, type);
  const void* weight = at(samples.weights, sample * samples.weight_stride, weight_type_);
  auto* x_copy = reinterpret_cast<float*>(scratch);
  auto* y_copy = reinterpret_cast<float*>(scratch + staged_x_bytes_);
  scratch += staged_x_bytes_ + staged_y_bytes_;
  const bool reads_x = pass_ != ConvolutionPass::backward_input, reads_y = pass_ != ConvolutionPass::forward;
  if (staged_x_ && reads_x) widen(worker.threads, static_cast<const bfloat16*>(x), x_elements_, x_copy);
  if (staged_y_ && reads_y) widen(worker.threads, static_cast<const bfloat16*>(y), y_elements_, y_copy);
  const dnnl_status_t status =
      convolve(worker, staged_x_ ? x_copy : x, weight, staged_y_ ? static_cast<const void*>(y_copy) : y, samples, scratch);
  if (status != dnnl_success) return status;
  if (fused_) {
    float* means = samples.finish->means;
    if (means)
      channel_means(worker.threads, y, type, y_elements_ / out_channels_, out_channels_, means + sample * samples.finish->means_stride,
                    scratch);
  } else if (samples.finish) {
    const Finish& after = *samples.finish;
    finish(worker.threads, after.epilogue, y_copy, y_elements_ / out_channels_, type,
           after.residual ? at(after.residual, sample * y_elements_, type) : nullptr, const_cast<void*>(y),
           after.means ? after.means + sample * after.means_stride : nullptr, scratch);
  } else if (widens_ && !reads_y) {
    narrow(worker.threads, y_copy, y_elements_, static_cast<bfloat16*>(const_cast<void*>(y)));
  } else if (widens_ && !reads_x) {
    narrow(worker.threads, x_copy, x_elements_, static_cast<bfloat16*>(const_cast<void*>(x)));
  }
  return dnnl_success;
}

void SamplewiseConvolution::run(const Samples& samples, std::byte* scratch) {
  const ThreadLimit limit(threads_);
  const int64_t alone = together_ ? samples.count - samples.count % threads_ : samples.count;
  dnnl_status_t status = dnnl_success;
  if (alone > 0) {
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
    for (int64_t sample = 0; sample < alone; ++sample) {
      const auto thread = static_cast<size_t>(omp_get_thread_num());
      const dnnl_status_t result = run_sample(workers_[thread], samples, sample, scratch + thread * worker_bytes_);
      if (result != dnnl_success) {
#pragma omp atomic write
        status = result;
      }
    }
  }
  for (int64_t sample = alone; sample < samples.count && status == dnnl_success; ++sample) {
    status = run_sample(*together_, samples, sample, scratch);
  }
  check_onednn("a sample-wise convolution", status);
}

}  // namespace

std::unique_ptr<SampleConvolution> samplewise_convolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads,
                                                          const SampleConvolution::Options& options) {
  return std::make_unique<SamplewiseConvolution>(geometry, pass, threads, options);
}

}  // namespace kw::cpu
