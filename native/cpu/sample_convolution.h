// One pass over many samples, each with its own weight: one sample for each thread, and those that are left over by all threads together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/convolution.h"

namespace kw::cpu {

class SamplewiseConvolution {
 public:
  struct Options {
    bool has_bias = false;
    // How the weights come and go: as float32 [O,kernel,C/groups], converted on the way where oneDNN wants them otherwise, or as it wants
    // them.
    enum class Weights { plain, preferred } weights = Weights::plain;
    DataType activations = DataType::float32;
    bool finished = false;  // `run` will be given an epilogue
  };
  // `geometry` with the whole batch.
  SamplewiseConvolution(const ConvolutionGeometry& geometry, ConvolutionPass pass, int threads, const Options& options);

  const dnnl::memory::desc& weight_desc() const { return weight_desc_; }  // of the weights that `run` sees
  DataType weight_type() const { return weight_type_; }
  size_t weight_bytes() const { return weight_desc_.get_size(); }
  size_t scratch_bytes() const { return scratch_bytes_; }

  // What the forward pass does to each sample's result, on the same thread, while it is in cache.
  struct Finish {
    Epilogue epilogue;
    const void* residual = nullptr;  // of the first sample and the activations' type; may be y's memory
    float* means = nullptr;          // [samples, O]
  };
  // Consecutive samples.
  struct Samples {
    int64_t count;
    const void* x;
    const void* weights;    // of `weight_type`
    int64_t weight_stride;  // elements
    const void* y;
    const float* bias = nullptr;
    const Finish* finish = nullptr;  // exactly when Options::finished
  };
  // Throws kw::Error when oneDNN fails.
  void run(const Samples& samples, std::byte* scratch);

 private:
  struct Worker {
    int threads;
    Convolution convolution;
    std::optional<Reorder> reorder;
  };
  Worker make_worker(const ConvolutionGeometry& sample, int threads, const std::optional<dnnl::memory::desc>& weight) const;
  size_t scratchpad_bytes(const Worker& worker) const;
  dnnl_status_t run_sample(Worker& worker, const Samples& samples, int64_t sample, std::byte* scratch);
  dnnl_status_t convolve(Worker& worker, const void* x, const void* weight, const void* y, const float* bias, std::byte* scratch);

  ConvolutionPass pass_;
  int threads_;
  Options options_;
  ConvolutionTypes types_;  // that oneDNN computes with
  int64_t x_elements_, y_elements_, out_channels_;
  bool widens_;                     // bfloat16 activations, float32 computation
  bool staged_x_, staged_y_;        // pass through float32 memory
  std::vector<Worker> workers_;     // one for each thread
  std::optional<Worker> together_;  // runs one sample on all threads
  dnnl::memory::desc weight_desc_;
  DataType weight_type_;
  // Of a worker: its copy of x, of y, and of its weight in oneDNN's layout; then the scratchpads of whatever runs.
  size_t staged_x_bytes_ = 0, staged_y_bytes_ = 0, converted_bytes_ = 0;
  size_t worker_bytes_ = 0;
  size_t scratch_bytes_ = 0;
};

}  // namespace kw::cpu
