# Writes OUTPUT, a C++ file that holds the SQL files of FILES (a ';' list in order) as string literals. Run
# with `cmake -P` at build time. A file's number must be its place in the list.
set(entries "")
set(expected 0)
foreach(file IN LISTS FILES)
  math(EXPR expected "${expected} + 1")
  get_filename_component(name "${file}" NAME)
  string(REGEX MATCH "^0*([1-9][0-9]*)_[a-z_]+\\.sql$" matched "${name}")
  if(NOT "${CMAKE_MATCH_1}" STREQUAL "${expected}")
    message(FATAL_ERROR "${name}: expected migration number ${expected}")
  endif()
  file(READ "${file}" sql)
  string(APPEND entries "    Migration{${expected}, \"${name}\", R\"sql(${sql})sql\"},\n")
endforeach()
file(WRITE "${OUTPUT}" "// Generated from schema/migrations by embed_migrations.cmake.
#include \"schema/migrations.h\"

#include <array>

namespace dslad::schema {

std::span<const Migration> migrations() {
  static constexpr std::array kMigrations = {
${entries}  };
  return kMigrations;
}

}  // namespace dslad::schema
")
