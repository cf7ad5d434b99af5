# Stand-ins for NVIDIA's libraries, and a program that reports what it finds of them: a process that has opened a library keeps it, so each
# test of the search asks a process of its own.
add_library(kw_fake_nvidia OBJECT EXCLUDE_FROM_ALL test/native/cuda_libraries/fake_nvidia.c)
add_library(kw_fake_nvidia_incomplete OBJECT EXCLUDE_FROM_ALL test/native/cuda_libraries/fake_nvidia.c)
target_compile_definitions(kw_fake_nvidia_incomplete PRIVATE KW_FAKE_INCOMPLETE)
set_target_properties(kw_fake_nvidia kw_fake_nvidia_incomplete PROPERTIES C_VISIBILITY_PRESET default)
foreach(object kw_fake_nvidia kw_fake_nvidia_incomplete)
  target_include_directories(${object} PRIVATE native)
endforeach()

set(fake_folder ${CMAKE_CURRENT_BINARY_DIR}/fake_nvidia)
function(kw_fake_library folder object name)
  string(MAKE_C_IDENTIFIER "kw_fake_${folder}_${name}" target)
  add_library(${target} MODULE EXCLUDE_FROM_ALL $<TARGET_OBJECTS:${object}>)
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C PREFIX "" SUFFIX "" OUTPUT_NAME ${name}
                                             LIBRARY_OUTPUT_DIRECTORY ${fake_folder}/${folder}
                                             LIBRARY_OUTPUT_DIRECTORY_RELEASE ${fake_folder}/${folder})
  target_link_options(${target} PRIVATE -Wl,-soname,${name})
  add_dependencies(kw_native_tests ${target})
endfunction()
foreach(name libcudnn.so.9 libcudnn_graph.so.9 libcudnn_ops.so.9 libcudnn_cnn.so.9 libcudnn_adv.so.9 libcudnn_heuristic.so.9
             libcudnn_engines_precompiled.so.9 libcudnn_engines_runtime_compiled.so.9 libcublasLt.so.13 libnvrtc.so.13 libcuda.so.1)
  kw_fake_library(complete kw_fake_nvidia ${name})
endforeach()
foreach(name libcudnn.so.9 libcublasLt.so.13)
  kw_fake_library(incomplete kw_fake_nvidia_incomplete ${name})
endforeach()

add_executable(kw_libraries_report EXCLUDE_FROM_ALL test/native/cuda_libraries/libraries_report.cc)
target_link_libraries(kw_libraries_report PRIVATE kw_cuda_libraries)
add_dependencies(kw_native_tests kw_libraries_report)
target_sources(kw_native_tests PRIVATE test/native/cuda_libraries/libraries_test.cc)
target_compile_definitions(kw_native_tests PRIVATE KW_LIBRARIES_REPORT="$<TARGET_FILE:kw_libraries_report>" KW_FAKE_NVIDIA="${fake_folder}")
