#include "worker/model/chain_file.h"

#include <archive.h>
#include <archive_entry.h>
#include <cerrno>
#include <cstdint>
#include <fmt/format.h>
#include <memory>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "worker/files/atomic_file.h"
#include "worker/files/folder_lock.h"
#include "worker/files/mapped_file.h"
#include "worker/files/read_file.h"
#include "worker/model/dsla_layer.h"
#include "worker/model/loaded_chain.h"

namespace dslad::worker {
namespace {

constexpr const char* kLogFile = "log.jsonl";
// In the archive: unpacked beside a model's weights it is its chain.
constexpr std::string_view kFolder = "dsla/";
constexpr std::size_t kBlockBytes = 1 << 20;
constexpr int kMostFiles = 1100;                                   // more layers than any model has
constexpr std::uint64_t kMostTextBytes = std::uint64_t{64} << 20;  // of chain.json, and of the log

using ArchiveReader = std::unique_ptr<archive, decltype(&archive_read_free)>;
using ArchiveWriter = std::unique_ptr<archive, decltype(&archive_write_free)>;
using Entry = std::unique_ptr<archive_entry, decltype(&archive_entry_free)>;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Error failed(ErrorCode code, const std::filesystem::path& file, std::string_view what) {
  return {code, fmt::format("{}: {}", file.string(), what)};
}

// A tar into a file that appears when it is whole.
class Writer {
 public:
  static Result<std::unique_ptr<Writer>> open(const std::filesystem::path& path) {
    auto file = AtomicFile::create(path);
    if (!file) return file.error();
    std::unique_ptr<Writer> writer(new Writer(path, *std::move(file)));
    archive* const tar = writer->tar_.get();
    const bool opened =
        archive_write_set_format_pax_restricted(tar) == ARCHIVE_OK &&
        archive_write_open2(tar, writer.get(), nullptr, append, nullptr, nullptr) == ARCHIVE_OK;
    if (!opened) return writer->error();
    return writer;
  }

  Status add(const std::string& name, std::string_view content) {
    const Entry entry(archive_entry_new(), archive_entry_free);
    archive_entry_set_pathname(entry.get(), (std::string(kFolder) + name).c_str());
    archive_entry_set_filetype(entry.get(), AE_IFREG);
    archive_entry_set_perm(entry.get(), 0644);
    archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
    if (archive_write_header(tar_.get(), entry.get()) != ARCHIVE_OK) return error();
    while (!content.empty()) {  // the library takes less than 2 GiB at once
      const std::string_view piece = content.substr(0, kBlockBytes);
      const auto written = archive_write_data(tar_.get(), piece.data(), piece.size());
      if (written != static_cast<la_ssize_t>(piece.size())) return error();
      content.remove_prefix(piece.size());
    }
    return ok_status();
  }

  Status commit() {
    if (archive_write_close(tar_.get()) != ARCHIVE_OK) return error();
    return file_.commit();
  }

 private:
  Writer(std::filesystem::path path, AtomicFile file) : path_(std::move(path)), file_(std::move(file)) {}

  static la_ssize_t append(archive* tar, void* self, const void* bytes, std::size_t size) {
    auto& writer = *static_cast<Writer*>(self);
    writer.written_ = writer.file_.append({static_cast<const std::byte*>(bytes), size});
    if (writer.written_) return static_cast<la_ssize_t>(size);
    archive_set_error(tar, EIO, "cannot be written");
    return -1;
  }
  // What the file said of it counts, if it did.
  [[nodiscard]] Error error() const {
    if (!written_) return written_.error();
    const char* const text = archive_error_string(tar_.get());
    return failed(ErrorCode::kUnavailable, path_, text == nullptr ? "cannot be written" : text);
  }

  std::filesystem::path path_;
  AtomicFile file_;
  Status written_ = ok_status();
  ArchiveWriter tar_{archive_write_new(), archive_write_free};  // first to go: it may still write
};

std::string text_of(archive* tar) {
  const char* const text = archive_error_string(tar);
  return text == nullptr ? "it ends too early" : text;
}

// The name of a file in an archive, without the folder; empty for what no chain has.
std::string name_of(archive_entry* entry) {
  const char* const path = archive_entry_pathname(entry);
  std::string_view name = path == nullptr ? "" : path;
  if (name.starts_with("./")) name.remove_prefix(2);
  if (name.starts_with(kFolder)) name.remove_prefix(kFolder.size());
  const bool known = name == kChainFile || name == kLogFile || name.ends_with(".safetensors");
  const bool plain = name.find('/') == std::string_view::npos && archive_entry_filetype(entry) == AE_IFREG &&
                     archive_entry_hardlink(entry) == nullptr;
  return known && plain ? std::string(name) : std::string();
}

// Of one member, and `most` bytes at most: an archive may say that it holds far more than it does.
Status unpack_file(archive* tar, const std::filesystem::path& source, const std::filesystem::path& to,
                   std::uint64_t most) {
  auto file = AtomicFile::create(to);
  if (!file) return file.error();
  std::vector<std::byte> block(kBlockBytes);
  for (std::uint64_t bytes = 0;;) {
    const la_ssize_t read = archive_read_data(tar, block.data(), block.size());
    if (read < 0)
      return failed(ErrorCode::kCorrupt, source,
                    fmt::format("{} is damaged: {}", to.filename().string(), text_of(tar)));
    if (read == 0) return file->commit();
    bytes += static_cast<std::uint64_t>(read);
    if (bytes > most)
      return failed(ErrorCode::kInvalidArgument, source,
                    fmt::format("{} is larger than any of this model's can be", to.filename().string()));
    if (Status status = file->append({block.data(), static_cast<std::size_t>(read)}); !status) return status;
  }
}

// All files of a chain that `source` holds into `folder`; whatever else is in it is left out.
Status unpack(const std::filesystem::path& source, const std::filesystem::path& folder,
              std::uint64_t most_layer_bytes) {
  const ArchiveReader tar(archive_read_new(), archive_read_free);
  // No more: what the library cannot unpack itself it would give to a program.
  archive_read_support_filter_gzip(tar.get());
  archive_read_support_filter_xz(tar.get());
  archive_read_support_filter_zstd(tar.get());
  archive_read_support_format_tar(tar.get());
  if (archive_read_open_filename(tar.get(), source.c_str(), kBlockBytes) != ARCHIVE_OK) {
    std::error_code missing;
    const bool there = std::filesystem::exists(source, missing);
    return failed(there ? ErrorCode::kInvalidArgument : ErrorCode::kNotFound, source,
                  fmt::format("no tar can be read from it: {}", text_of(tar.get())));
  }
  for (int files = 0; files < kMostFiles; ++files) {
    archive_entry* entry = nullptr;
    const int next = archive_read_next_header(tar.get(), &entry);
    if (next == ARCHIVE_EOF) return ok_status();
    if (next != ARCHIVE_OK && next != ARCHIVE_WARN) {
      return failed(ErrorCode::kInvalidArgument, source,
                    fmt::format("it is no tar, or a damaged one: {}", text_of(tar.get())));
    }
    const std::string name = name_of(entry);
    if (name.empty()) continue;
    const std::uint64_t most = name.ends_with(".safetensors") ? most_layer_bytes : kMostTextBytes;
    if (Status status = unpack_file(tar.get(), source, folder / name, most); !status) return status;
  }
  return failed(ErrorCode::kInvalidArgument, source, "it holds more files than a chain has");
}

// A folder beside another, with all that is in it until the end of the scope.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> beside(const std::filesystem::path& folder) {
    std::filesystem::path path = folder.string() + ".import";
    std::error_code code;
    std::filesystem::remove_all(path, code);  // of a run that was killed
    std::filesystem::create_directories(path, code);
    if (code)
      return Error{ErrorCode::kUnavailable,
                   fmt::format("{}: cannot be made: {}", path.string(), code.message())};
    return TemporaryFolder(std::move(path));
  }
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// The chain that was unpacked: its own, whole, and of this model.
Result<ChainManifest> check_unpacked(const std::filesystem::path& folder, const std::filesystem::path& file,
                                     const ChainTarget& target) {
  auto manifest = load_chain_manifest(folder);
  if (!manifest && manifest.error().code == ErrorCode::kNotFound)
    return failed(ErrorCode::kInvalidArgument, file,
                  "it holds no chain.json; make it with dslad-model chain export");
  if (!manifest) return manifest.error().with_context(file.string());
  Status sound = check_chain(*manifest, target.teacher_digest, target.config.layers);
  for (const DistilledLayer& layer : manifest->distilled) {
    if (!sound) break;
    const auto tensors = load_dsla_layer(folder, layer, target.config, manifest->variant_of(layer));
    if (!tensors) sound = tensors.error();
  }
  if (!sound) return sound.error().with_context(file.string());
  return manifest;
}

// Float32 tensors of the widest variant there is, and their header.
std::uint64_t most_layer_bytes(const LlamaConfig& c) {
  constexpr std::uint64_t kWidest = 64;  // projections and gates, in the model's q, k, v and o
  const auto hidden = static_cast<std::uint64_t>(c.hidden_size);
  const auto heads =
      static_cast<std::uint64_t>(c.heads + c.kv_heads) * static_cast<std::uint64_t>(c.head_dim);
  return kWidest * 2 * hidden * heads * sizeof(float) + kMostTextBytes;
}

// Puts what was unpacked in the place of what stands there: files that are whole and on the same disk, so
// that nothing but a kill can stop it in between. chain.json is the last.
Status move_into_place(const std::filesystem::path& from, const std::filesystem::path& to,
                       const ChainManifest& manifest) {
  const auto text = read_file(from / kChainFile, kMostTextBytes);
  if (!text) return text.error();
  auto chain = AtomicFile::create(to / kChainFile);  // waits for who changes it just now
  if (!chain) return chain.error();
  if (Status status = chain->append(std::as_bytes(std::span(*text))); !status) return status;
  std::error_code code;
  for (const DistilledLayer& layer : manifest.distilled) {
    if (!code) std::filesystem::rename(from / layer.file, to / layer.file, code);
  }
  if (code) return Error{ErrorCode::kUnavailable, fmt::format("{}: {}", to.string(), code.message())};
  std::filesystem::rename(from / kLogFile, to / kLogFile, code);
  if (code)
    std::filesystem::remove(to / kLogFile, code);  // it has none, and the other chain's is not its own
  return chain->commit();
}

}  // namespace

Result<ChainManifest> export_chain(const std::filesystem::path& dir, const std::filesystem::path& file) {
  const auto text = read_file(dir / kChainFile, kMostTextBytes);  // once: it may be replaced meanwhile
  if (!text) return text.error();
  auto manifest = parse_chain_manifest(*text, (dir / kChainFile).string());
  if (!manifest) return manifest.error();
  auto writer = Writer::open(file);
  if (!writer) return writer.error();
  Status status = (*writer)->add(kChainFile, *text);
  for (const DistilledLayer& layer : manifest->distilled) {
    if (!status) return status.error();
    const auto content = open_dsla_layer(dir, layer);  // held to its checksum
    status = content ? (*writer)->add(layer.file, text_of(content->bytes())) : Status(content.error());
  }
  const auto log =
      read_file(dir / kLogFile, kMostTextBytes);  // not every chain has one; a huge one stays here
  if (status && log) status = (*writer)->add(kLogFile, *log);
  if (status) status = (*writer)->commit();
  if (!status) return status.error();
  return manifest;
}

namespace {

Result<ChainManifest> put_in_place(const std::filesystem::path& file, const ChainTarget& target) {
  const auto alone = FolderLock::take(target.dir);  // as `distil` does
  if (!alone) return alone.error();
  const auto there = load_chain_manifest(target.dir);
  const bool empty = !there && there.error().code == ErrorCode::kNotFound;
  if (!empty && !target.replace) {
    return Error{
        ErrorCode::kRefused,
        fmt::format("{} has a chain already; --replace puts this one in its place", target.dir.string())};
  }
  const auto folder = TemporaryFolder::beside(target.dir);
  if (!folder) return folder.error();
  if (Status unpacked = unpack(file, folder->path(), most_layer_bytes(target.config)); !unpacked)
    return unpacked.error();
  auto manifest = check_unpacked(folder->path(), file, target);
  if (!manifest) return manifest;
  Status status = move_into_place(folder->path(), target.dir, *manifest);
  if (status && target.on_placed) status = target.on_placed();
  if (!status) return status.error();
  return manifest;
}

}  // namespace

Result<ChainManifest> import_chain(const std::filesystem::path& file, const ChainTarget& target) {
  std::error_code ignored;
  const bool is_new = !std::filesystem::exists(target.dir, ignored);
  auto imported = put_in_place(file, target);
  if (!imported && is_new) std::filesystem::remove(target.dir, ignored);  // empty: what was locked
  return imported;
}

}  // namespace dslad::worker
