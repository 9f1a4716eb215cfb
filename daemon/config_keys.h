// The table of configuration keys: which member each one sets, and what it may be. Only config*.cc include
// it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/config.h"

namespace dslad::daemon {

struct IntegerKey {
  std::int64_t Config::*member;
  std::int64_t least;
  std::int64_t most;
};

struct TextKey {
  std::string Config::*member;
  std::vector<std::string_view> words;  // the only ones taken; empty: any that is not empty
};

// A number from 0 to 1.
struct ShareKey {
  double Config::*member;
};

struct KeyEntry {
  std::string_view name;
  std::string_view what;
  std::variant<IntegerKey, TextKey, ShareKey> kind;
  bool reloads = false;  // may change while dslad serves
};

std::span<const KeyEntry> key_table();

// As text.
std::string value_of(const KeyEntry& key, const Config& config);

// nullptr where there is no such key.
const KeyEntry* find_key(std::string_view name);

// "unknown key 'a'; did you mean 'b'?"
std::string unknown_key(std::string_view name);

// Sets the member; an empty text is success, else what is wrong with the value.
std::string set_integer(const KeyEntry& key, std::int64_t value, Config& config);
std::string set_text(const KeyEntry& key, std::string_view value, Config& config);  // of a share too

}  // namespace dslad::daemon
