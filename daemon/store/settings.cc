#include "daemon/store/settings.h"

namespace dslad::daemon {

Result<std::map<std::string, std::string>> read_settings(Database& db) {
  std::map<std::string, std::string> settings;
  Query query(db, "SELECT key, value FROM settings");
  while (query.next()) settings[query.text(0)] = query.text(1);
  if (!query.status()) return query.status().error();
  return settings;
}

Status save_settings(Database& db, const std::map<std::string, std::string>& settings) {
  Status status = ok_status();
  for (const auto& [key, value] : settings) {
    if (status) {
      status = db.run(
          "INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
          key, value);
    }
  }
  return status;
}

}  // namespace dslad::daemon
