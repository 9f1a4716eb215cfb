// The database's migrations in order, embedded from schema/migrations/*.sql at build time. Forward only; the
// last one's version is what PRAGMA user_version says of a database that is up to date. Immutable; safe from
// any thread.
#pragma once

#include <span>
#include <string_view>

namespace dslad::schema {

struct Migration {
  int version = 0;        // from 1, without gaps
  std::string_view name;  // of the file
  std::string_view sql;   // run as one transaction together with the new user_version
};

std::span<const Migration> migrations();

}  // namespace dslad::schema
