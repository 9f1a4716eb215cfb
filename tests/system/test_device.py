"""--device where there is no GPU to be had: the reason is named, and nothing is ever computed on the CPU instead."""

import os
import subprocess
import unittest
from pathlib import Path

from harness import BIN, MODEL, SystemTest


def c_library():
    """A library that loads anywhere, but is no module of dslad's: the C library that this process has mapped."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("/libc.so.6"):
            return line[line.index("/"):]
    raise unittest.SkipTest("no libc.so.6 is mapped here")


class DeviceThatIsNotThere(SystemTest):
    def run_on(self, device, module, program, *arguments):
        environment = {**os.environ, "DSLAD_CUDA_MODULE": str(module)}
        return subprocess.run([BIN / program, *map(str, arguments), "--device", device], capture_output=True, text=True,
                              env=environment, timeout=120)

    def worker_on(self, device, module):
        return self.run_on(device, module, "dslad-worker", "--model", MODEL, "--connect", f"ipc://{self.folder}/nobody", "--threads", 1)

    def assert_refused(self, done, *parts):
        self.assertNotEqual(0, done.returncode)
        for part in parts:
            self.assertIn(part, done.stderr)
        self.assertEqual("", done.stdout)

    def test_without_the_module_the_worker_says_what_is_missing(self):
        missing = self.folder / "libdslad-cuda.so"
        self.assert_refused(self.worker_on("cuda:0", missing), f"CUDA: there is no {missing}", "install its module for CUDA")

    def test_a_module_that_is_none_is_named(self):
        text = self.folder / "text.so"
        text.write_text("no library\n")
        self.assert_refused(self.worker_on("cuda:0", text), "CUDA: ", str(text))
        self.assert_refused(self.worker_on("cuda", c_library()), "CUDA: ", "dslad_cuda_open_device")

    def test_no_tool_computes_on_the_cpu_instead(self):
        missing = self.folder / "libdslad-cuda.so"
        text = self.folder / "text.txt"
        text.write_text("The lamp was lit at dusk.\n")
        for arguments in (("generate", MODEL, "--prompt", "a"), ("bench", MODEL), ("eval", MODEL, text)):
            with self.subTest(arguments[0]):
                done = self.run_on("cuda:3", missing, "dslad-model", *arguments)
                self.assert_refused(done, f"CUDA: there is no {missing}")

    def test_a_device_of_no_kind_is_refused_before_anything_is_read(self):
        for device in ("gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0"):
            with self.subTest(device):
                self.assert_refused(self.worker_on(device, self.folder / "none"), f"device '{device}' is unknown", "cuda:N")


if __name__ == "__main__":
    unittest.main()
