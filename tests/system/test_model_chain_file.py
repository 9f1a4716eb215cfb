"""A chain as one file: made on one machine, checked and served on another."""

import gzip
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import unittest

import harness
from harness import BIN


class ChainFile(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.source, self.model = self.folder / "source", self.folder / "model"
        shutil.copytree(harness.MODEL, self.source)
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([BIN / "make_chain", self.source, "3"], check=True)
        self.file = self.folder / "chain.tar"
        self.good("export", self.source, self.file)

    def tool(self, verb, *arguments):
        return subprocess.run([str(BIN / "dslad-model"), "chain", verb, *map(str, arguments)], capture_output=True,
                              encoding="utf-8", timeout=harness.PATIENCE, check=False)

    def good(self, *arguments):
        done = self.tool(*arguments)
        self.assertEqual(0, done.returncode, done.stderr)
        return done.stdout

    def refused(self, *arguments, says):
        before = self.tree()
        done = self.tool(*arguments)
        self.assertEqual(1, done.returncode, done.stdout)
        for text in says:
            self.assertIn(text, done.stderr)
        self.assertEqual(before, self.tree(), "nothing is left behind, nothing was changed")
        return done.stderr

    def tree(self, model=None):
        """All files of the model's folder, and its neighbours' names."""
        files = {path.relative_to(self.folder): path.read_bytes()
                 for path in (model or self.model).rglob("*") if path.is_file()}
        return files, sorted(path.name for path in self.folder.iterdir()), (self.model / "dsla").exists()

    def repack(self, change):
        """The file with other members: `change` gets and gives a dictionary of them."""
        with tarfile.open(self.file) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
        with tarfile.open(self.file, "w") as tar:
            for name, content in change(members).items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    def test_a_chain_is_the_same_beside_another_copy_of_the_model(self):
        self.assertIn("plans 0 to 3 of 5 layers", self.good("import", self.model, self.file))
        chains = [{path.name: path.read_bytes() for path in (model / "dsla").iterdir()} for model in (self.source, self.model)]
        self.assertEqual(*chains)
        again = self.folder / "again.tar"
        self.assertEqual(3, json.loads(self.good("export", self.model, again, "--json"))["plans"])
        self.assertEqual(self.file.read_bytes(), again.read_bytes())

    def test_any_tar_reads_it_and_a_compressed_one_is_read(self):
        with tarfile.open(self.file) as tar:
            self.assertEqual(["dsla/chain.json"], tar.getnames()[:1])
            tar.extractall(self.folder / "by-tar")
        self.assertEqual((self.source / "dsla/chain.json").read_bytes(), (self.folder / "by-tar/dsla/chain.json").read_bytes())
        packed = self.folder / "chain.tar.gz"
        packed.write_bytes(gzip.compress(self.file.read_bytes()))
        self.good("import", self.model, packed)

    def test_a_chain_that_is_there_is_replaced_only_with_leave(self):
        subprocess.run([BIN / "make_chain", self.model, "1"], check=True)
        self.refused("import", self.model, self.file, says=["has a chain already", "--replace"])
        self.assertIn("0 to 3", self.good("import", self.model, self.file, "--replace"))

    def test_a_chain_of_another_model_is_refused(self):
        self.model = self.folder / "other"
        shutil.copytree(harness.SOURCE / "packaging/demo-model/model", self.model)
        shutil.rmtree(self.model / "dsla", ignore_errors=True)
        self.refused("import", self.model, self.file, says=["chain.tar", "distilled from weights with the digest"])

    def test_what_is_no_whole_chain_is_refused_and_named(self):
        layer = next(path.name for path in (self.source / "dsla").glob("*.safetensors"))
        flipped = bytearray((self.source / "dsla" / layer).read_bytes())
        flipped[-1] ^= 1
        good = self.file.read_bytes()
        for change, says in (
            (lambda members: {name: content for name, content in members.items() if not name.endswith(layer)}, [layer]),
            (lambda members: {**members, f"dsla/{layer}": bytes(flipped)}, [layer, "damaged"]),
            (lambda members: {name: content for name, content in members.items() if name != "dsla/chain.json"},
             ["chain.json"]),
            (lambda members: {**members, "dsla/chain.json": b"{"}, ["chain.json"]),
            (lambda members: {}, ["chain.json"]),
        ):
            self.repack(change)
            self.refused("import", self.model, self.file, says=["chain.tar", *says])
            self.file.write_bytes(good)
        for content in (b"", b"no tar at all" * 100, good[: len(good) // 2]):
            self.file.write_bytes(content)
            self.refused("import", self.model, self.file, says=["chain.tar"])
        self.refused("import", self.model, self.folder / "nowhere.tar", says=["nowhere.tar"])
        self.refused("export", self.model, self.folder / "none.tar", says=["dsla"])

    def test_what_claims_to_be_far_larger_is_refused(self):
        self.repack(lambda members: {**members, "dsla/chain.json": b" " * (80 << 20)})
        packed = self.folder / "chain.tar.gz"
        packed.write_bytes(gzip.compress(self.file.read_bytes(), 1))
        self.refused("import", self.model, packed, says=["chain.json", "larger than"])

    def test_the_manifest_keeps_its_bytes_which_name_the_edition(self):
        other = json.dumps(json.loads((self.source / "dsla/chain.json").read_bytes()), indent=3).encode()
        self.repack(lambda members: {**members, "dsla/chain.json": other})
        self.good("import", self.model, self.file)
        self.assertEqual(other, (self.model / "dsla/chain.json").read_bytes())

    def test_members_that_lead_elsewhere_are_left_out(self):
        self.repack(lambda members: {"../outside": b"x", "/tmp/dslad-absolute": b"x", "dsla/../sideways": b"x",
                                     "dsla/.hidden": b"x", **members})
        self.good("import", self.model, self.file)
        self.assertFalse(any(self.folder.rglob("*outside*")) or any(self.folder.rglob("*sideways*")))
        self.assertFalse(pathlib.Path("/tmp/dslad-absolute").exists())
        self.assertFalse((self.model / "dsla/.hidden").exists())

    def test_a_damaged_layer_is_not_exported(self):
        layer = next((self.source / "dsla").glob("*.safetensors"))
        layer.write_bytes(layer.read_bytes()[:-8])
        out = self.folder / "bad.tar"
        done = self.tool("export", self.source, out)
        self.assertEqual(1, done.returncode)
        self.assertIn(layer.name, done.stderr)
        self.assertFalse(out.exists())

    def test_on_a_full_disk_the_chain_that_serves_stays(self):
        disk = self.folder / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
            self.skipTest("mounting a tmpfs needs root and CAP_SYS_ADMIN")
        self.addCleanup(subprocess.run, ["umount", str(disk)], check=True)
        self.model = disk / "model"
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([BIN / "make_chain", self.model, "1"], check=True)
        free = shutil.disk_usage(disk).free
        needed = sum(path.stat().st_size for path in (self.source / "dsla").iterdir())
        for room in (needed // 4, needed // 2, needed - 4096):
            filler = disk / "filler"
            filler.write_bytes(b"x" * (free - room))
            self.refused("import", self.model, self.file, "--replace", says=["space"])
            filler.unlink()
        self.good("import", self.model, self.file, "--replace")


if __name__ == "__main__":
    unittest.main()
