# Every dependency is a Debian package; docs/dependencies.md says why each earns its place.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(prometheus-cpp REQUIRED)
pkg_check_modules(archive REQUIRED IMPORTED_TARGET libarchive)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
pkg_check_modules(pcre2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(utf8proc REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(zmq REQUIRED IMPORTED_TARGET libzmq)
# Its flags name the headers of libraries that it hides, and CMake spells them differently when it configures a second
# time: everything would be compiled again. zmq.h itself lies where every compiler looks.
set_target_properties(PkgConfig::zmq PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "" INTERFACE_COMPILE_OPTIONS "")
pkg_check_modules(systemd REQUIRED IMPORTED_TARGET libsystemd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)

# Debian's dnnl-config.cmake insists on the OpenCL headers, which nothing here uses: find the two files ourselves.
find_library(DNNL_LIBRARY dnnl REQUIRED)
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl.hpp REQUIRED)
add_library(dslad_dnnl INTERFACE)
target_include_directories(dslad_dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(dslad_dnnl INTERFACE ${DNNL_LIBRARY})

# Debian 13's sentencepiece.pc asks for protobuf's headers, which users of the library do not need.
find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_processor.h REQUIRED)
add_library(dslad_sentencepiece INTERFACE)
target_include_directories(dslad_sentencepiece SYSTEM INTERFACE ${SENTENCEPIECE_INCLUDE_DIR})
target_link_libraries(dslad_sentencepiece INTERFACE ${SENTENCEPIECE_LIBRARY})

# msgpack-cxx is header-only; without this it wants Boost.
add_library(dslad_msgpack INTERFACE)
target_compile_definitions(dslad_msgpack INTERFACE MSGPACK_NO_BOOST)

if(DSLAD_TESTS)
  find_package(GTest REQUIRED)
endif()

set(dslad_headers <algorithm> <chrono> <cstdint> <filesystem> <fstream> <functional> <map> <memory> <optional> <span>
  <string> <string_view> <variant> <vector> <fmt/format.h> <nlohmann/json.hpp>)
if(DSLAD_PRECOMPILE)
  # Not CLI11: it defines objects in its headers, which every source would then compile.
  dslad_precompile(dslad_precompiled HEADERS ${dslad_headers} LINK fmt::fmt nlohmann_json::nlohmann_json)
endif()
if(DSLAD_TESTS AND DSLAD_PRECOMPILE_TESTS)
  dslad_precompile(dslad_test_precompiled HEADERS ${dslad_headers} <gmock/gmock.h> <gtest/gtest.h>
    LINK fmt::fmt nlohmann_json::nlohmann_json GTest::gtest GTest::gmock)
  target_compile_options(dslad_test_precompiled PRIVATE ${dslad_test_options})
endif()
