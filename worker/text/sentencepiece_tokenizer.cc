#include "worker/text/sentencepiece_tokenizer.h"

#include <exception>
#include <fmt/format.h>
#include <sentencepiece_processor.h>
#include <utility>

#include "worker/files/read_file.h"
#include "worker/text/text_check.h"

namespace dslad::worker {
namespace {

constexpr std::size_t kMaxModelBytes = 64 << 20;
constexpr std::string_view kSpacePiece = "\xE2\x96\x81";   // U+2581, which stands for a space in pieces
constexpr const char* kUnknownSurface = " \xE2\x81\x87 ";  // " ⁇ ", as libsentencepiece decodes it

// A serialized ModelProto is extended by appending fields: this is normalizer_spec.add_dummy_prefix = false.
constexpr std::string_view kNoDummyPrefix("\x1a\x02\x18\x00", 4);

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (std::size_t at = 0; at < piece.size();) {
    const bool space = piece.substr(at).starts_with(kSpacePiece);
    text += space ? ' ' : piece[at];
    at += space ? kSpacePiece.size() : 1;
  }
  return text;
}

// The byte that a piece like "<0x0A>" stands for.
std::string byte_of(const std::string& piece) {
  return {static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16))};
}

std::string bytes_of_piece(const sentencepiece::SentencePieceProcessor& model, int id) {
  if (model.IsControl(id)) return {};
  if (model.IsUnknown(id)) return kUnknownSurface;
  if (model.IsByte(id)) return byte_of(model.IdToPiece(id));
  return with_spaces(model.IdToPiece(id));
}

bool begins_with_space(const sentencepiece::SentencePieceProcessor& model, const char* text) {
  const std::vector<std::string> pieces = model.EncodeAsPieces(text);
  return !pieces.empty() && pieces.front().starts_with(kSpacePiece);
}

std::optional<TokenId> known(int id) {
  return id < 0 ? std::nullopt : std::optional<TokenId>(id);
}

}  // namespace

struct SentencePieceTokenizer::Processors {
  sentencepiece::SentencePieceProcessor beginning, continuation;
};

SentencePieceTokenizer::SentencePieceTokenizer(std::unique_ptr<Processors> processors)
    : processors_(std::move(processors)) {
  const auto& model = processors_->beginning;
  for (int id = 0; id < model.GetPieceSize(); ++id) {
    bytes_.push_back(bytes_of_piece(model, id));
    if (model.IsControl(id)) names_.add({model.IdToPiece(id), id, true});
  }
  special_.bos = known(model.bos_id());
  special_.eos = known(model.eos_id());
  special_.unknown = known(model.unk_id());
  adds_leading_space_ = begins_with_space(model, "a");
  strips_spaces_ = !begins_with_space(processors_->continuation, " a");
}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

void SentencePieceTokenizer::apply(const TokenizerSettings& settings) {
  const auto pieces = static_cast<TokenId>(bytes_.size());
  for (const AddedToken& token : settings.added) {
    if (token.id < pieces) continue;  // the model has it, as a control or a user-defined piece
    if (token.id >= vocab_size()) bytes_.resize(static_cast<std::size_t>(token.id) + 1);
    bytes_[static_cast<std::size_t>(token.id)] = token.special ? std::string{} : token.name;
    if (!names_.find(token.name)) names_.add(token);
  }
  const auto named = [&](const std::optional<std::string>& name) {
    return name ? names_.find(*name) : std::nullopt;
  };
  if (const auto bos = named(settings.bos_name)) special_.bos = bos;
  if (const auto eos = named(settings.eos_name)) special_.eos = eos;
  special_.adds_bos = settings.add_bos.value_or(true) && special_.bos.has_value();
}

Result<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::load(const std::filesystem::path& path,
                                                                const TokenizerSettings& settings) {
  const auto model = read_file(path, kMaxModelBytes);
  if (!model) return model.error();
  try {
    auto processors = std::make_unique<Processors>();
    for (const auto& [processor, suffix] : {std::pair(&processors->beginning, std::string_view{}),
                                            std::pair(&processors->continuation, kNoDummyPrefix)}) {
      const auto loaded = processor->LoadFromSerializedProto(*model + std::string(suffix));
      if (!loaded.ok()) {
        return Error{ErrorCode::kCorrupt,
                     fmt::format("{}: no sentencepiece model: {}", path.string(), loaded.error_message())};
      }
    }
    std::unique_ptr<SentencePieceTokenizer> tokenizer(new SentencePieceTokenizer(std::move(processors)));
    tokenizer->apply(settings);
    return std::unique_ptr<Tokenizer>(std::move(tokenizer));
  } catch (const std::exception& error) {
    return Error{ErrorCode::kCorrupt,
                 fmt::format("{}: no sentencepiece model: {}", path.string(), error.what())};
  }
}

Result<std::vector<TokenId>> SentencePieceTokenizer::encode(std::string_view text, TextPosition position,
                                                            std::span<const TextRange> special_names) const {
  const Status checked = check_utf8(text);
  if (!checked) return checked.error();
  std::vector<TokenId> ids;
  try {
    for (const auto& segment : names_.split(text, special_names)) {
      if (segment.token) {
        ids.push_back(*segment.token);
      } else {
        const std::vector<TokenId> part = encode_plain(segment.text, position);
        ids.insert(ids.end(), part.begin(), part.end());
      }
      position = TextPosition::kContinuation;
    }
  } catch (const std::exception& error) {
    return Error{ErrorCode::kInternal,
                 fmt::format("libsentencepiece cannot encode the text: {}", error.what())};
  }
  return ids;
}

std::vector<TokenId> SentencePieceTokenizer::encode_plain(std::string_view text,
                                                          TextPosition position) const {
  // Where the normalizer takes a continuation's own first space, the dummy prefix stands in for it.
  const bool prefix = position == TextPosition::kBeginning || (strips_spaces_ && text.starts_with(' '));
  return (prefix ? processors_->beginning : processors_->continuation).EncodeAsIds(text);
}

std::string_view SentencePieceTokenizer::bytes_of(TokenId id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return bytes_[static_cast<std::size_t>(id)];
}

}  // namespace dslad::worker
