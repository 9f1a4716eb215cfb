// Messages of the log that an administrator may want to find, or to be told what to do about: under journald
// each has a MESSAGE_ID, and packaging/systemd/dslad.catalog explains it (journalctl -x). An id never changes
// its meaning.
#pragma once

#include <string_view>

namespace dslad::process {

struct KnownMessage {
  std::string_view id;  // 32 hexadecimal digits
};

inline constexpr KnownMessage kWorkerConnected{"c5e5700e631448029e2063498933e3f5"};
inline constexpr KnownMessage kWorkerGone{"2e26dec0b3c94d16b7aa49c7f060ee4a"};
inline constexpr KnownMessage kPolicyTakesPlan{"580553a2bcf3496a984d8179cf3667b3"};
inline constexpr KnownMessage kPlanWithdrawn{"7abff1387b3a431a8ae3b6cada06b708"};
inline constexpr KnownMessage kJobUnreadable{"69ef708c43e7498aada3d3d74119627a"};
inline constexpr KnownMessage kDatabaseDamaged{"adfa46cc237a48868dd2fcbfa32e128c"};
inline constexpr KnownMessage kDiskFails{"f1feec992bf54029883c9f79824c9c68"};
inline constexpr KnownMessage kLogHeldUp{"41eca217f41d4a2289bcc7b40b93298e"};
inline constexpr KnownMessage kKeyTurnedAway{"4fdb0cf59ecc44118c02e4a4202854a2"};
inline constexpr KnownMessage kConfigurationRefused{"b03977e12013412d97359ff223128fc0"};

}  // namespace dslad::process
