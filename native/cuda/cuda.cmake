# The plug-in libkw_cuda.so, beside the add-on, where nvcc is found. Nothing links to it: it is opened at run time, and only when asked for.
option(KW_CUDA "Build the CUDA plug-in where nvcc is found" ON)

if(KW_CUDA)
  include(CheckLanguage)
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # machine code for both, and PTX of the newer for what comes
  endif()
  check_language(CUDA)
endif()
if(KW_CUDA AND CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake up to 3.25 does not know that nvcc from 12 on has it
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS native/cuda/*.cc native/cuda/*.cu)
  list(FILTER cuda_sources EXCLUDE REGEX "/libraries/")
  # As objects, since the tests of kernels on a device (test/native/cuda/device_tests.cmake) are made of them too.
  add_library(kw_cuda_objects OBJECT ${cuda_sources})
  set_target_properties(kw_cuda_objects PROPERTIES CUDA_STANDARD 20 CUDA_EXTENSIONS OFF CUDA_VISIBILITY_PRESET hidden
                                                  CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/scripts/keep-messages.sh)
  target_include_directories(kw_cuda_objects SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${KW_JSON_INCLUDE})
  target_include_directories(kw_cuda_objects PRIVATE native native/include)
  target_compile_definitions(kw_cuda_objects PRIVATE KW_VERSION="${PROJECT_VERSION}")
  target_compile_options(kw_cuda_objects PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wno-restrict>
                                                 $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Werror=all-warnings;-Xcompiler=-Wall;-Xptxas=-v>)
  add_library(kw_cuda MODULE)
  set_target_properties(kw_cuda PROPERTIES LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static)
  target_link_libraries(kw_cuda PRIVATE kw_cuda_objects $<LINK_ONLY:kw_runtime> $<LINK_ONLY:kw_cuda_libraries>)
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    # Its own copies of the runtime's names stay its own.
    target_link_options(kw_cuda PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,nodelete)
  endif()
else()
  message(STATUS "The CUDA plug-in is left out: nvcc not found (install the CUDA toolkit, or set CUDACXX to its nvcc)")
endif()
