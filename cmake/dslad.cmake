# Flags every target of ours gets, and the helpers that declare libraries and tests in one line.

# Before every target's own options, which may say -fno-sanitize. Without three checks of UBSan's that take a quarter of
# its build's time: ASan and the hardware see a null pointer, and what reads others' bytes asks for alignment again. Not
# optimised, which takes a third, but for what dslad_optimise_sanitized names.
set(DSLAD_SANITIZED_LEVEL -O0 CACHE STRING "How far the sanitizer builds are optimised")
set(CMAKE_CXX_FLAGS_SANITIZE "${DSLAD_SANITIZED_LEVEL} -g1 -fno-omit-frame-pointer -fsanitize=${DSLAD_SANITIZE} -fno-sanitize=null,alignment,object-size -fno-sanitize-recover=all"
  CACHE STRING "Flags of the sanitizer builds" FORCE)

add_library(dslad_flags INTERFACE)
target_include_directories(dslad_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(dslad_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wimplicit-fallthrough
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>)  # GCC 12 sees overlaps in std::string concatenation that are not there (GCC bug 105329)
target_compile_definitions(dslad_flags INTERFACE DSLAD_VERSION="${PROJECT_VERSION}")
if(DSLAD_SANITIZE)
  target_compile_definitions(dslad_flags INTERFACE DSLAD_SANITIZED)  # compilers have each their own macros
  if(DSLAD_SANITIZE MATCHES address)
    target_compile_definitions(dslad_flags INTERFACE DSLAD_ADDRESS_SANITIZED)
  endif()
  # Vectorised sources are compiled once for each instruction set. Such builds run where they are made, and see what they
  # are there to see with one: the widest that tests can run (dslad_simd_sources), or for fuzzers the baseline.
  file(STRINGS /proc/cpuinfo dslad_avx512 REGEX avx512 LIMIT_COUNT 1)
  if(NOT DSLAD_TESTS)
    target_compile_definitions(dslad_flags INTERFACE "DSLAD_MORE_DISABLED_TARGETS=(HWY_AVX2|HWY_AVX3)")
  elseif(NOT dslad_avx512)
    target_compile_definitions(dslad_flags INTERFACE DSLAD_MORE_DISABLED_TARGETS=HWY_AVX3)
  endif()
endif()
if(DSLAD_SANITIZE AND NOT CMAKE_BUILD_TYPE STREQUAL "Sanitize")
  message(FATAL_ERROR "DSLAD_SANITIZE wants CMAKE_BUILD_TYPE=Sanitize, as the presets asan, tsan and fuzz have it")
endif()

# The headers that take compilers the longest, read once instead of in every source. Tests have it, what users get
# only in builds that nobody edits: a source that lacks an include compiles all the same; the release build finds it.
option(DSLAD_PRECOMPILE "Precompile library headers for libraries and programs too" OFF)
option(DSLAD_PRECOMPILE_TESTS "Precompile library headers for tests" ON)  # off for clang-tidy, which cannot read GCC's

# dslad_precompile(NAME HEADERS ... LINK ...): a library to share them from; its flags must be those of the targets that do.
function(dslad_precompile name)
  cmake_parse_arguments(arg "" "" "HEADERS;LINK" ${ARGN})
  file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc "")
  add_library(${name} STATIC ${CMAKE_CURRENT_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PUBLIC dslad_flags ${arg_LINK})
  target_precompile_headers(${name} PRIVATE ${arg_HEADERS})
endfunction()

# dslad_library(NAME SOURCES ... LINK ...): a static library that carries our flags.
function(dslad_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC dslad_flags ${arg_LINK})
  if(DSLAD_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM dslad_precompiled)
  endif()
endfunction()

# dslad_executable(NAME SOURCES ... LINK ...)
function(dslad_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE dslad_flags ${arg_LINK})
  if(DSLAD_PRECOMPILE)
    target_precompile_headers(${name} REUSE_FROM dslad_precompiled)
  endif()
endfunction()

# dslad_reads_mapped_bytes(TARGET): its numbers lie wherever a file has them.
function(dslad_reads_mapped_bytes target)
  if(DSLAD_SANITIZE MATCHES undefined)
    target_compile_options(${target} PRIVATE -fsanitize=alignment)
  endif()
endfunction()

# dslad_optimise(TARGET): for loops over numbers, where the vectoriser of -O3 pays.
function(dslad_optimise target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O3>)
endfunction()

# dslad_optimise_sanitized(TARGET): in sanitizers' builds too, for what tests run long.
function(dslad_optimise_sanitized target)
  if(DSLAD_SANITIZE)
    target_compile_options(${target} PRIVATE -O1)
    set_target_properties(${target} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)  # which are made with other flags
  endif()
endfunction()

# dslad_without_coverage(TARGET): what no fuzzer feeds need not count where it has been.
function(dslad_without_coverage target)
  if(DSLAD_SANITIZE MATCHES fuzzer)
    target_compile_options(${target} PRIVATE -fno-sanitize=fuzzer-no-link)
    set_target_properties(${target} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# dslad_command_line(TARGET): for what runs once a command. Compilers' time is what it costs: CLI11's headers are read once
# for all its sources (a missing include of one of these then shows in ./run lint), and -O1 is plenty. Where headers are not
# precompiled, they take ten seconds of every unit: few and large ones.
function(dslad_command_line target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
  set_target_properties(${target} PROPERTIES UNITY_BUILD_BATCH_SIZE 30)
  if(NOT DSLAD_PRECOMPILE AND DSLAD_PRECOMPILE_TESTS)
    target_precompile_headers(${target} PRIVATE <CLI/CLI.hpp> <fmt/format.h> <nlohmann/json.hpp>)
  endif()
endfunction()

set(dslad_test_options $<$<CONFIG:Release>:-O0>)
if(DSLAD_SANITIZE MATCHES undefined)
  list(APPEND dslad_test_options -fno-sanitize=undefined)
endif()
if(DSLAD_SANITIZE MATCHES fuzzer)
  list(APPEND dslad_test_options -fno-sanitize=fuzzer-no-link)
endif()

# dslad_test(NAME SOURCES ... LINK ...): one GoogleTest executable, registered with ctest under the same name.
# Not optimised: tests are run once, compilers' time is what they cost, with sanitizers above all. UBSan watches the
# code under test alone.
function(dslad_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE dslad_flags ${arg_LINK} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_options(${name} PRIVATE ${dslad_test_options})
  target_compile_definitions(${name} PRIVATE DSLAD_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  if(DSLAD_PRECOMPILE_TESTS)
    target_precompile_headers(${name} REUSE_FROM dslad_test_precompiled)
  endif()
  add_test(NAME ${name} COMMAND ${name})
endfunction()

# dslad_simd_sources(TARGET SOURCES...): vectorised sources. UBSan makes their compilation many times longer (each intrinsic
# is a function with checks of its own), so they go without it; the plain versions beside them have it. Each includes itself
# once for every instruction set: never several in one unit.
function(dslad_simd_sources target)
  target_sources(${target} PRIVATE ${ARGN})
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  set(options "")
  if(DSLAD_SANITIZE MATCHES undefined)
    list(APPEND options -fno-sanitize=undefined)
  endif()
  if(DSLAD_SANITIZE AND DSLAD_TESTS)
    list(APPEND options -march=native)
  endif()
  set_source_files_properties(${ARGN} TARGET_DIRECTORY ${target} PROPERTIES COMPILE_OPTIONS "${options}")
endfunction()
