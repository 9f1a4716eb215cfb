"""A daemon whose disk does as a test says: disk_faults.cc, preloaded."""

import unittest

from harness import BIN, SANITIZED, SystemTest


@unittest.skipIf(SANITIZED, "a sanitizer wants to be the first that is loaded")
class FaultyDisk(SystemTest):
    def setUp(self):
        super().setUp()
        self.faults = self.folder / "faults"
        self.faults.mkdir()

    def start_on_faulty_disk(self, sync_ms=0):
        return self.start_daemon(env={"LD_PRELOAD": str(BIN / "libdisk_faults.so"), "DSLAD_DISK_FAULTS": str(self.faults),
                                      "DSLAD_DISK_SYNC_MS": str(sync_ms)})

    def begin(self, fault):
        (self.faults / fault).touch()

    def end(self, fault):
        (self.faults / fault).unlink()

    def stored(self):
        """The numbers of all jobs in the database."""
        return [row["id"] for row in self.sql("SELECT id FROM job_status ORDER BY id")]
