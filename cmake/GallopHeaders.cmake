# gallop_headers(TARGET [TORCH] [FIRST header] [HEADER...]): the headers that cost a source of TARGET most are compiled once: those of
# the standard library, with TORCH those of libtorch that most of the engine includes, and HEADERs. Sources include what
# they use all the same: -DGALLOP_PCH=OFF must build.
include_guard(GLOBAL)

function(gallop_headers target)
  cmake_parse_arguments(PARSE_ARGV 1 with "TORCH" "FIRST" "")
  if(NOT GALLOP_PCH)
    if(with_FIRST)
      target_compile_options(${target} PRIVATE -include ${with_FIRST})
    endif()
    return()
  endif()
  set(headers
    <algorithm> <array> <atomic> <charconv> <cmath> <cstdint> <cstring> <filesystem> <fstream> <functional> <limits>
    <map> <memory> <numeric> <optional> <set> <span> <sstream> <string> <string_view> <tuple> <utility> <variant>
    <vector>)
  if(with_TORCH)
    list(APPEND headers
      <ATen/core/Tensor.h> <ATen/core/grad_mode.h> <ATen/Parallel.h> <ATen/TensorOperators.h> <ATen/ops/arange.h>
      <ATen/ops/cat.h> <ATen/ops/empty.h> <ATen/ops/full.h> <ATen/ops/ones.h> <ATen/ops/tensor.h>
      <ATen/ops/where.h> <ATen/ops/zeros.h>)
  endif()
  target_precompile_headers(${target} PRIVATE ${with_FIRST} ${headers} ${with_UNPARSED_ARGUMENTS})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess)  # for ccache
  endif()
endfunction()

# gallop_headers_of(TARGET OTHER): the precompiled header of OTHER serves TARGET too. Their flags must be the same.
function(gallop_headers_of target other)
  if(GALLOP_PCH)
    target_precompile_headers(${target} REUSE_FROM ${other})
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  endif()
endfunction()
