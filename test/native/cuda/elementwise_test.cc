// Ops that treat every element alike, on the emulated device against the CPU.
#include "cuda/cuda_backend.h"
#include "op_runner.h"

namespace kw::test {

TEST_CASE("CUDA add") {
  const auto backend = cuda::open_backend({});
  for (const DataType type : {DataType::float32, DataType::bfloat16}) {
    const auto runner = [&] {
      return OpRunner("add").input({3, 67}, random_floats(201, 1), type).input({3, 67}, random_floats(201, 2), type).output({3, 67}, type);
    };
    CHECK(runner().run_on(backend).floats() == runner().run_on(1).floats());
  }
}

}  // namespace kw::test
