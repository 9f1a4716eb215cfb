// Bounds that every peer of the protocol holds to, so that no message can exhaust a process.
// They are part of the protocol (docs/protocol.md); the daemon's configuration may only lower them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dslad::schema {

inline constexpr std::uint32_t kProtocolVersion = 1;

inline constexpr std::size_t kMaxFrameBytes = std::size_t{16} << 20;    // one ZeroMQ frame
inline constexpr std::size_t kMaxDocumentBytes = std::size_t{8} << 20;  // document or prompt of one job
inline constexpr std::size_t kMaxQuestionBytes = std::size_t{64} << 10;
inline constexpr std::size_t kMaxJobBytes =
    kMaxFrameBytes - (64 << 10);                    // texts of one job: it goes out in one frame
inline constexpr std::size_t kMaxNameBytes = 1024;  // keys, names, ids, URLs, reasons
inline constexpr std::size_t kMaxShownBytes = 64;   // of a peer's text in an error message
inline constexpr std::size_t kMaxQuestions = 256;   // of one job
inline constexpr std::size_t kMaxBatch = 1024;      // jobs or ids in one request
inline constexpr std::size_t kMaxLabels = 16;       // of one job
inline constexpr std::size_t kMaxLabelBytes = 128;
inline constexpr std::size_t kMaxErrorBytes = 4096;  // of an error's message; longer ones are cut
inline constexpr std::size_t kPageBytes = std::size_t{4}
                                          << 20;  // of a result's texts, unless one alone is more
inline constexpr std::uint32_t kMaxPurge = 1000;  // jobs in one request
inline constexpr std::size_t kMaxLayers = 1024;
inline constexpr std::size_t kMaxArray = 4096;                           // elements of any array
inline constexpr std::size_t kMaxKeys = 64;                              // pairs of any map
inline constexpr std::size_t kMaxDepth = 12;                             // nesting of arrays and maps
inline constexpr std::size_t kMaxNodes = 1'000'000;                      // values in one frame
inline constexpr std::uint32_t kMaxTokens = 1 << 20;                     // of one answer
inline constexpr std::uint64_t kMaxGeneration = std::uint64_t{1} << 53;  // of plans that are set
inline constexpr std::uint32_t kMaxAttempts = 1000;
inline constexpr std::int32_t kMaxPriority = 1'000'000;  // and -kMaxPriority the lowest
inline constexpr std::uint32_t kMaxWaitMs = 24 * 3600 * 1000;
inline constexpr std::uint64_t kMaxExpiryMs = std::uint64_t{10} * 365 * 24 * 3600 * 1000;

}  // namespace dslad::schema
