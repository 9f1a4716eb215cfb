"""bench/gpu.sh pack, for a machine with a GPU and neither compiler nor network: small, whole, and it runs from anywhere."""

import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["DSLAD_SOURCE"])
BIN = pathlib.Path(os.environ["DSLAD_BIN"])
MODULE = BIN.parent / "lib/libdslad-cuda.so"
PROGRAMS = ("backends_test", "cuda_engine_test", "device_bench", "device_kernels_bench")
EVERYWHERE = re.compile(r"(libc|libm|ld-linux.*|libdl|libpthread|librt)\.so\.\d+")


@unittest.skipUnless(MODULE.exists() and all((BIN / name).exists() for name in PROGRAMS), "no module for CUDA was built")
class GpuPack(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.file = cls.folder / "dslad-gpu.tar.gz"
        done = subprocess.run([SOURCE / "bench/gpu.sh", "pack", cls.file], capture_output=True, encoding="utf-8",
                              env={**os.environ, "DSLAD_BUILD": str(BIN.parent)})
        assert done.returncode == 0, done.stderr
        with tarfile.open(cls.file) as pack:
            pack.extractall(cls.folder / "pack")
        cls.pack = cls.folder / "pack"

    def run_packed(self, program, *arguments, **environment):
        libraries = f"{self.pack}/lib:{self.pack}/lib/gcc"
        return subprocess.run([self.pack / "bin" / program, *arguments], cwd=self.folder, capture_output=True, encoding="utf-8",
                              env={"LD_LIBRARY_PATH": libraries, **environment})

    def test_it_is_small(self):
        self.assertLess(self.file.stat().st_size, 30 << 20)

    def test_it_names_its_commit(self):
        self.assertRegex((self.pack / "commit").read_text(), r"^([0-9a-f]{40}(-dirty)?|unknown)\n$")

    def test_each_library_is_in_it_or_expected_there(self):
        files = [path for path in self.pack.rglob("*") if path.is_file() and path.read_bytes()[:4] == b"\x7fELF"]
        self.assertGreater(len(files), len(PROGRAMS) + 1)
        here = {path.name for path in files} | set((self.pack / "expected").read_text().split())
        self.assertTrue(any(name.startswith("libcublasLt.so.") for name in here))
        for path in files:
            said = subprocess.run(["readelf", "--dynamic", path], capture_output=True, encoding="utf-8", check=True).stdout
            needed = re.findall(r"\(NEEDED\).*\[(.+)\]", said)
            self.assertEqual([], [name for name in needed if name not in here and not EVERYWHERE.fullmatch(name)], path.name)

    def test_its_tests_run_elsewhere_with_the_source_elsewhere(self):
        golden = "tests/golden/stories260K"
        shutil.copytree(SOURCE / golden, self.folder / "source" / golden)
        case = "--gtest_filter=*GivesThePublishedGreedyTokens*/Host"
        done = self.run_packed("cuda_engine_test", case, DSLAD_SOURCE_DIR=str(self.folder / "source"))
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ] 1 test.", done.stdout)
        self.assertNotEqual(0, self.run_packed("cuda_engine_test", case, DSLAD_SOURCE_DIR=str(self.folder)).returncode)
        listed = self.run_packed("backends_test", "--gtest_list_tests", LD_TRACE_LOADED_OBJECTS="1").stdout
        self.assertIn(f"libdnnl.so.2 => {self.pack}/lib/", listed)

    def test_run_unpacks_it_where_nothing_is_built_and_goes_on_after_each_failure(self):
        """Beside a card that is none."""
        tree = self.folder / "tree"
        for part in ("bench", "tests/golden/stories260K"):
            shutil.copytree(SOURCE / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        (tree / "build").mkdir()
        shutil.copy(self.file, tree / "build")
        (tree / "path").mkdir()
        (tree / "path/nvidia-smi").write_text("#!/bin/sh\necho a card\n")
        (tree / "path/nvidia-smi").chmod(0o755)
        done = subprocess.run([tree / "bench/gpu.sh", "run", self.folder / "out"], capture_output=True, encoding="utf-8", cwd="/",
                              env={"PATH": f"{tree}/path:/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual(1, done.returncode, done.stdout + done.stderr)
        commit = (self.pack / "commit").read_text().strip()
        self.assertIn(f"packed from {commit}, libraries in {tree}/build/gpu/lib", done.stdout)
        logs = {path.name: path.read_text() for path in (self.folder / "out").iterdir()}
        self.assertLessEqual(len(logs), 8)
        self.assertIn(commit, logs["device.log"])
        self.assertIn("no CUDA device", logs["tests.log"])
        failed = [line for name in ("tests.log", "measure.log") for line in logs[name].splitlines()
                  if re.match(r"== .*: status 1 after \d+ s of \d+$", line)]  # fmt: skip
        self.assertEqual(2 + 5, len(failed), done.stdout)
        self.assertEqual(4, len(re.findall(r"^== sanitize .*: status \d", logs["sanitize.log"], re.M)))
        self.assertIn("skipped: ", logs["peers.log"])


if __name__ == "__main__":
    unittest.main()
