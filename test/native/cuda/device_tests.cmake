# The tests of kernels on a GPU: the plug-in's own objects, and the tests that run on the emulated device compiled by nvcc, since some start
# kernels of their own. A file for the emulator alone, or a case of one, asks for KW_EMULATOR. (What language a file is in holds for targets of
# one folder of CMake's: the emulated tests are made in another.)
file(GLOB device_test_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_test.cc)
list(FILTER device_test_sources EXCLUDE REGEX "/libraries_test\\.cc$")  # part of kw_native_tests
set_source_files_properties(${device_test_sources} PROPERTIES LANGUAGE CUDA)
add_executable(kw_cuda_device_tests EXCLUDE_FROM_ALL ${device_test_sources} ${CMAKE_CURRENT_LIST_DIR}/../main.cc)
set_target_properties(kw_cuda_device_tests PROPERTIES CUDA_STANDARD 20 CUDA_EXTENSIONS OFF CUDA_RUNTIME_LIBRARY Static)
target_include_directories(kw_cuda_device_tests SYSTEM PRIVATE ${KW_DOCTEST_INCLUDE} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} ${KW_JSON_INCLUDE})
target_include_directories(kw_cuda_device_tests BEFORE PRIVATE native native/include ${CMAKE_CURRENT_LIST_DIR}/..)
target_compile_definitions(kw_cuda_device_tests PRIVATE KW_VERSION="${PROJECT_VERSION}")
target_compile_options(kw_cuda_device_tests PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xcompiler=-Wno-restrict>)
target_link_libraries(kw_cuda_device_tests PRIVATE kw_cuda_objects $<LINK_ONLY:kw_cpu>)
if(CMAKE_LIBRARY_OUTPUT_DIRECTORY)
  set_target_properties(kw_cuda_device_tests PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_LIBRARY_OUTPUT_DIRECTORY})
endif()
