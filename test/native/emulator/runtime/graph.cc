#include "emulator/runtime/graph.h"

#include <algorithm>
#include <memory>

#include "emulator/options.h"
#include "emulator/runtime/status.h"
#include "emulator/runtime/stream.h"

namespace kw::emulator {

void perform_graph(const CUgraph_st& graph) {
  const std::size_t count = graph.nodes.size();
  std::vector<std::size_t> missing(count);  // how many nodes must still come before
  std::vector<std::vector<std::size_t>> later(count);
  std::vector<std::size_t> ready;
  for (std::size_t node = 0; node < count; ++node) {
    missing[node] = graph.nodes[node]->after.size();
    for (const std::size_t before : graph.nodes[node]->after) later[before].push_back(node);
    if (missing[node] == 0) ready.push_back(node);
  }
  std::uint32_t random = options().seed | 1;
  while (!ready.empty()) {
    auto next = std::min_element(ready.begin(), ready.end());
    if (options().schedule == Schedule::reverse) next = std::max_element(ready.begin(), ready.end());
    if (options().schedule == Schedule::random) {
      random = random * 1664525u + 1013904223u;
      next = ready.begin() + static_cast<std::ptrdiff_t>((random >> 8) % ready.size());
    }
    const std::size_t node = *next;
    ready.erase(next);
    if (!has_device_failed()) graph.nodes[node]->perform();
    for (const std::size_t after : later[node]) {
      if (--missing[after] == 0) ready.push_back(after);
    }
  }
}

}  // namespace kw::emulator

using namespace kw::emulator;

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (!graph || !count) return finish(cudaErrorInvalidValue);
  const std::size_t all = graph->nodes.size();
  if (nodes) {
    for (std::size_t i = 0; i < *count; ++i) nodes[i] = i < all ? graph->nodes[i].get() : nullptr;
    *count = std::min(*count, all);
  } else {
    *count = all;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (!graph || !executable) return finish(cudaErrorInvalidValue);
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  *executable = new CUgraphExec_st{*graph};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  return finish(executable ? streams().queue(stream, [] {}) : cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (!executable) return finish(cudaErrorInvalidValue);
  if (const cudaError_t status = obstacle(); status != cudaSuccess) return finish(status);
  // A copy of the nodes: the executable may be destroyed before its work is done.
  const CUgraph_st graph = executable->graph;
  const bool has_host_function =
      std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const auto& node) { return node->is_host_function; });
  return finish(streams().queue(stream, [graph] { perform_graph(graph); }, has_host_function));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  if (!executable) return finish(cudaErrorInvalidValue);
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (!graph) return finish(cudaErrorInvalidValue);
  delete graph;
  return cudaSuccess;
}
