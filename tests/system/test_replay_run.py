"""bench/replay as a person calls it: real daemons and workers, and what it says of a wrong call."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from test_replay import BIN, SOURCE, Folder, parse_page


class RealRun(Folder):
    """The demo model, its daemon and its worker; some seconds each."""

    command = [sys.executable, "-B", str(SOURCE / "bench/replay")]
    common = ["poisson", "--bin", str(BIN), "--seeds", "1", "--median-tokens", "300", "--longest-tokens", "1000", "--threads", "1"]

    def start(self, *arguments):
        if not (SOURCE / "packaging/demo-model/model/model.safetensors").is_file():
            self.skipTest("no data")
        child = subprocess.Popen([*self.command, *self.common, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, env={**os.environ, "TMPDIR": str(self.short)})  # fmt: skip
        self.addCleanup(lambda: (child.kill(), child.communicate()) if child.poll() is None else None)
        return child

    def setUp(self):
        super().setUp()
        self.short = pathlib.Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))  # sockets lie there
        self.addCleanup(shutil.rmtree, self.short, True)

    def test_static_plans_and_a_policy(self):
        file, html = self.folder / "r.json", self.folder / "r.html"
        child = self.start("--policy", "static:0", "static:half", "deadline", "--jobs", "12", "--calibration-jobs", "6", "--teach-jobs", "1",
                           "--load", "2", "--json", str(file), "--out", str(html))  # fmt: skip
        out, errors = child.communicate(timeout=600)
        self.assertEqual(0, child.returncode, out + errors)
        self.assertIn("No job was lost or doubled", out)
        found = json.loads(file.read_text())
        self.assertEqual(["static 0", "static 4", "deadline"], [run["configuration"] for run in found["runs"]][:3])
        for run, plan in zip(found["runs"], (0, 4)):
            self.assertEqual([plan] * 12, [each["plan"] for each in run["jobs"]])
        for run in found["runs"]:
            self.assertGreater(run["measured"]["f1"], 0.8)
            self.assertTrue(all(each["prefill_s"] > 0 and each["ended_s"] > each["created_s"] for each in run["jobs"]))
            self.assertTrue(all(each["started_s"] - 0.1 < each["begun_s"] < each["ended_s"] for each in run["jobs"]))
            self.assertGreaterEqual(run["measured"]["at_once"], 1)
            self.assertTrue(all(abs(each["created_s"] - each["planned_s"]) < 30 for each in run["jobs"]))
        for run in found["runs"][:3]:
            self.assertGreater(run["predicted"]["makespan_s"], 0)
            self.assertIn(f"simulated with the costs of its run, {run['configuration']}: makespan x", out)
        parse_page(html.read_text())
        self.assertEqual([], list(self.short.iterdir()))

    def test_ctrl_c_leaves_nothing_running(self):
        child = self.start("--policy", "static:0", "--capacity", "1000", "--teach-jobs", "0")
        while "seed 1" not in child.stderr.readline():
            self.assertIsNone(child.poll())
        running = self.until(lambda: self.running(), "the programs run")
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=120)
        self.assertEqual(130, child.returncode, errors)
        self.assertIn("interrupted", errors)
        self.assertEqual([], self.running(), running)
        self.assertEqual([], list(self.short.iterdir()))

    def running(self):
        """Command lines of processes that work in this test's folder."""
        found = []
        for entry in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.short) in line:
                found.append(line)
        return found

    def until(self, predicate, what):
        deadline = time.monotonic() + 60
        while not (value := predicate()):
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)
        return value


class Usage(Folder):
    def fails(self, *arguments):
        done = subprocess.run([*RealRun.command, *arguments], capture_output=True, text=True, timeout=120)
        self.assertEqual(1, done.returncode, done.stderr)
        return done.stderr

    def test_mistakes_are_told_before_anything_starts(self):
        bin_ = ["--bin", str(BIN)]
        self.assertIn("square, poisson, adversarial", self.fails("nosuch", *bin_))
        self.assertIn("./run build", self.fails("square", "--bin", str(self.folder)))
        self.assertIn("no such policy", self.fails("square", "--policy", "best", *bin_))
        self.assertIn("first line", self.fails(str(self.write("a,b\n")), *bin_))
        self.assertIn("--text", self.fails("square", "--model", str(self.folder), *bin_))
        self.assertIn("make it first", self.fails("square", "--out", str(self.folder / "no/page.html"), *bin_))


if __name__ == "__main__":
    unittest.main()
