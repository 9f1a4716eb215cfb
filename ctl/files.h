// What files need that must be whole after a power cut. Errors name the file as people may read it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace dslad::ctl {

// In quotes, without control characters.
std::string file_name(const std::string& path);

// Errors: the system's words alone, for the caller to put the file before them.
Status write_all(int descriptor, std::string_view bytes);

// Whether the name is still that of the open file: who had it may have put another in its place.
bool is_named(int descriptor, const std::string& path);

// A new name in a folder is on disk once the folder is.
Status sync_folder_of(const std::string& path);

}  // namespace dslad::ctl
