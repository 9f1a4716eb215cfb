# Which compiler makes libdslad-cuda.so, and of which CUDA toolkit: enables the language and finds the libraries. Sets
# DSLAD_CUDA_COMPILER, in words, or DSLAD_NO_CUDA: what is missing.
#
# nvcc knows C++20 from CUDA 12 on. For an older toolkit (Debian 12 has 11.8) clang compiles the kernels, with that
# toolkit's headers, ptxas and libraries: clang 16 at least, the first that knows CUDA 11.8 and sm_90.
# CMAKE_CUDA_COMPILER or CUDACXX, nvcc or clang++, is taken as it is; the toolkit of a clang is then the one of
# CUDAToolkit_ROOT or CUDA_PATH.
set(DSLAD_NO_CUDA "")
set(dslad_old_nvcc "knows no C++20: install clang-16 to compile the kernels with it, or CUDA 12 or newer")

function(dslad_is_new_clang result program)  # a validator of find_program
  execute_process(COMMAND ${program} --version OUTPUT_VARIABLE version ERROR_QUIET)
  if(NOT version MATCHES "clang version ([0-9.]+)" OR CMAKE_MATCH_1 VERSION_LESS 16)
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# By the environment check_language is told what to try: what does not work is none.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(DSLAD_NVCC nvcc HINTS ${CUDAToolkit_ROOT} ENV CUDAToolkit_ROOT ENV CUDA_PATH PATHS /usr/local/cuda
    PATH_SUFFIXES bin)
  if(DSLAD_NVCC)
    set(ENV{CUDACXX} ${DSLAD_NVCC})
    execute_process(COMMAND ${DSLAD_NVCC} --version OUTPUT_VARIABLE dslad_nvcc ERROR_QUIET)
    if(dslad_nvcc MATCHES "V([0-9.]+)" AND CMAKE_MATCH_1 VERSION_LESS 12)
      set(dslad_nvcc "nvcc ${CMAKE_MATCH_1}")
      find_program(DSLAD_CLANG NAMES clang++-16 clang++-17 clang++-18 clang++-19 clang++ VALIDATOR dslad_is_new_clang)
      if(NOT DSLAD_CLANG)
        set(DSLAD_NO_CUDA "${dslad_nvcc} ${dslad_old_nvcc}")
        return()
      endif()
      set(ENV{CUDACXX} ${DSLAD_CLANG})
      cmake_path(GET DSLAD_NVCC PARENT_PATH dslad_toolkit)
      cmake_path(GET dslad_toolkit PARENT_PATH dslad_toolkit)
      set(ENV{CUDAToolkit_ROOT} ${dslad_toolkit})  # where CMake looks for a clang's: the one whose nvcc was asked
    endif()
  endif()
endif()

include(CheckLanguage)
set(CMAKE_CUDA_ARCHITECTURES 80-real 90)  # Ampere and Hopper; PTX of the latter for what comes
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  set(DSLAD_NO_CUDA "there is no nvcc that works: set CMAKE_CUDA_COMPILER to its path")
  return()
endif()
enable_language(CUDA)
set(DSLAD_CUDA_COMPILER "nvcc ${CMAKE_CUDA_COMPILER_VERSION}")
if(CMAKE_CUDA_COMPILER_ID STREQUAL Clang)
  set(DSLAD_CUDA_COMPILER "clang ${CMAKE_CUDA_COMPILER_VERSION} with CUDA ${CMAKE_CUDA_COMPILER_TOOLKIT_VERSION}")
elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12)
  set(DSLAD_NO_CUDA "${DSLAD_CUDA_COMPILER} ${dslad_old_nvcc}")
  return()
endif()
find_package(CUDAToolkit REQUIRED)
if(NOT TARGET CUDA::cublasLt)
  set(DSLAD_NO_CUDA "there is no cuBLASLt")
  return()
endif()
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # an nvcc younger than CMake
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
