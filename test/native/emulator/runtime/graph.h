// Graphs: work that was captured from streams, to be done as often as wanted.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

struct CUgraphNode_st {
  std::function<void()> perform;
  std::vector<std::size_t> after;  // numbers of earlier nodes
  bool is_host_function;
};

struct CUgraph_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};

struct CUgraphExec_st {
  CUgraph_st graph;
};

namespace kw::emulator {

/** A capture in progress, shared by the streams that take part in it. */
struct Capture {
  CUstream_st* origin;
  cudaStreamCaptureMode mode;
  std::thread::id thread;
  bool is_valid = true;
  bool is_over = false;
  CUgraph_st graph;
};

/** Performs every node after those that it comes after; which of several goes first is the schedule's choice. */
void perform_graph(const CUgraph_st& graph);

}  // namespace kw::emulator
