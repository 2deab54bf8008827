# gallop::torch: the libtorch inside the Python package 'torch', without find_package(Torch), which would
# demand a CUDA toolkit beside a CUDA wheel. Searched: -DGALLOP_TORCH_ROOT, the environment variable of the
# same name, the virtual environment that ./dev setup makes, python3.
include_guard(GLOBAL)
set(GALLOP_TORCH_ROOT "" CACHE PATH "folder of the Python package 'torch' (it has include/ and lib/)")
set(GALLOP_TORCH_WANTED "2.13")

function(gallop_is_torch dir out)
  if(EXISTS "${dir}/lib/libtorch_cpu.so" AND EXISTS "${dir}/include/ATen/ATen.h")
    set(${out} TRUE PARENT_SCOPE)
  else()
    set(${out} FALSE PARENT_SCOPE)
  endif()
endfunction()

set(torch_root "")
foreach(candidate IN ITEMS "${GALLOP_TORCH_ROOT}" "$ENV{GALLOP_TORCH_ROOT}")
  if(NOT torch_root AND candidate)
    gallop_is_torch("${candidate}" is_torch)
    if(NOT is_torch)
      message(FATAL_ERROR "GALLOP_TORCH_ROOT='${candidate}' has no lib/libtorch_cpu.so and include/ATen/ATen.h. "
        "Name the folder of the Python package 'torch', or leave it out and run ./dev setup.")
    endif()
    set(torch_root "${candidate}")
  endif()
endforeach()
if(NOT torch_root)
  set(cache_home "$ENV{XDG_CACHE_HOME}")
  if(NOT cache_home)
    set(cache_home "$ENV{HOME}/.cache")
  endif()
  if(DEFINED ENV{GALLOP_CACHE})
    set(gallop_cache "$ENV{GALLOP_CACHE}")
  else()
    set(gallop_cache "${cache_home}/gallop")
  endif()
  file(GLOB candidates "${gallop_cache}/venv/lib/python3*/site-packages/torch")
  find_program(python NAMES python3 python HINTS "$ENV{VIRTUAL_ENV}/bin" NO_CACHE)
  if(python)
    execute_process(COMMAND "${python}" -c
      "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE from_python OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    list(APPEND candidates "${from_python}")
  endif()
  foreach(candidate IN LISTS candidates)
    gallop_is_torch("${candidate}" is_torch)
    if(NOT torch_root AND is_torch)
      set(torch_root "${candidate}")
    endif()
  endforeach()
endif()
if(NOT torch_root)
  message(FATAL_ERROR "No libtorch found (looked at GALLOP_TORCH_ROOT, ${gallop_cache}/venv and python3). "
    "Run ./dev setup, or pass -DGALLOP_TORCH_ROOT=<folder of the Python package 'torch'>.")
endif()

file(REAL_PATH "${torch_root}" torch_root)
file(READ "${torch_root}/include/torch/headeronly/version.h" version_header)
string(REGEX MATCH "TORCH_VERSION_MAJOR ([0-9]+)" _ "${version_header}")
set(torch_version "${CMAKE_MATCH_1}")
string(REGEX MATCH "TORCH_VERSION_MINOR ([0-9]+)" _ "${version_header}")
string(APPEND torch_version ".${CMAKE_MATCH_1}")
if(NOT torch_version STREQUAL GALLOP_TORCH_WANTED)
  message(FATAL_ERROR "torch ${torch_version} is in ${torch_root}; this tree wants ${GALLOP_TORCH_WANTED}. "
    "Run ./dev setup, or name another one with -DGALLOP_TORCH_ROOT.")
endif()
message(STATUS "libtorch ${torch_version}: ${torch_root}")

add_library(gallop_torch INTERFACE)
add_library(gallop::torch ALIAS gallop_torch)
target_include_directories(gallop_torch SYSTEM INTERFACE
  "${torch_root}/include" "${torch_root}/include/torch/csrc/api/include")
target_compile_features(gallop_torch INTERFACE cxx_std_20)
target_compile_definitions(gallop_torch INTERFACE _GLIBCXX_USE_CXX11_ABI=1 AT_PER_OPERATOR_HEADERS)
# at::parallel_for is a template: without -fopenmp in our own files it runs on one thread.
target_compile_options(gallop_torch INTERFACE -fopenmp)
# libtorch.so must stay in the link even when nothing of it is named: in a CUDA wheel it brings CUDA along.
target_link_options(gallop_torch INTERFACE -fopenmp LINKER:--allow-shlib-undefined
  "LINKER:--push-state,--no-as-needed,${torch_root}/lib/libtorch.so,--pop-state")
foreach(library IN ITEMS torch_cpu c10)
  add_library(gallop_${library} SHARED IMPORTED GLOBAL)
  set_target_properties(gallop_${library} PROPERTIES IMPORTED_LOCATION "${torch_root}/lib/lib${library}.so")
  target_link_libraries(gallop_torch INTERFACE gallop_${library})
endforeach()
