"""dslad-worker given models that are none, or no daemon: it says what is wrong and where, and never crashes."""

import json
import os
import shutil
import struct
import unittest

import wire
from harness import MODEL, SystemTest, until


class BadModels(SystemTest):
    def model(self):
        copy = self.folder / "model"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(MODEL, copy)
        return copy

    def refused(self, model, *says):
        worker = self.start_worker(model=model, ready=False)
        status = worker.wait()
        self.assertGreater(status, 0, f"ended with {status}: {worker.text()}")
        worker.expected_exit.add(status)
        for text in says:
            self.assertIn(text, worker.text())

    def test_an_absent_folder_or_file_is_named(self):
        self.refused(self.folder / "nowhere", "nowhere")
        for name in ("config.json", "model.safetensors", "tokenizer.model"):
            model = self.model()
            (model / name).unlink()
            self.refused(model, name if name == "config.json" else str(model))

    def test_a_truncated_safetensors_file_is_named(self):
        for size in (0, 7, 100, os.path.getsize(MODEL / "model.safetensors") - 1):
            model = self.model()
            os.truncate(model / "model.safetensors", size)
            self.refused(model, "model.safetensors")

    def test_a_safetensors_header_that_lies_is_refused(self):
        sound = (MODEL / "model.safetensors").read_bytes()
        length = struct.unpack("<Q", sound[:8])[0]
        header = json.loads(sound[8 : 8 + length])
        data = sound[8 + length :]
        name = next(key for key in header if key != "__metadata__")

        def changed(**entry):
            text = json.dumps({**header, name: {**header[name], **entry}}).encode()
            return struct.pack("<Q", len(text)) + text + data

        for content in (
            struct.pack("<Q", 2**63) + sound[8:],
            struct.pack("<Q", len(sound) * 2) + sound[8:],
            sound[:8] + b"!" + sound[9:],
            changed(data_offsets=[0, 2**62]),
            changed(data_offsets=[8, 4]),
            changed(shape=[2**40, 2**40]),
            changed(shape=[-1, 2]),
            changed(dtype="F99"),
        ):
            model = self.model()
            (model / "model.safetensors").write_bytes(content)
            self.refused(model, "model.safetensors")

    def test_a_config_that_is_no_json_or_no_llama_is_refused(self):
        config = json.loads((MODEL / "config.json").read_text())
        for text in ("", "{", "[]", "\xff", json.dumps({**config, "architectures": ["BertModel"]}),
                     json.dumps({**config, "num_attention_heads": 0}), json.dumps({**config, "hidden_size": 10**12}),
                     json.dumps({**config, "num_hidden_layers": "five"}),
                     json.dumps({**config, "vocab_size": 7})):
            with self.subTest(config=text[:60]):
                model = self.model()
                (model / "config.json").write_text(text, encoding="latin-1")
                self.refused(model, str(model))

    def test_a_tokenizer_that_is_none_is_refused(self):
        model = self.model()
        (model / "tokenizer.model").write_bytes(b"not a sentencepiece model")
        self.refused(model, "tokenizer.model")


class DamagedWeights(SystemTest):
    """A layer's weights are so large that what comes after it is no number. (A weight that is none is refused as it loads.)"""

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(MODEL, self.model)
        with open(self.model / "model.safetensors", "r+b") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            begin, end = json.loads(file.read(length))["model.layers.3.mlp.down_proj.weight"]["data_offsets"]
            file.seek(8 + length + begin)
            file.write(struct.pack("<f", 3e38) * ((end - begin) // 4))

    def test_no_job_succeeds_and_the_worker_stops_after_three(self):
        self.start_daemon()
        worker = self.start_worker(model=self.model)
        with self.peer() as client:
            [first] = client.submit(wire.generate())
            [ended] = client.wait(first)
            self.assertEqual("failed", ended["state"])
            self.assertEqual(wire.CORRUPT, ended["error"]["code"])
            self.assertIn("not finite", ended["error"]["message"])
            self.assertEqual(3, ended["attempt"], "each attempt was used up: another worker could have helped")
            self.assertEqual(0, self.sql("SELECT count(*) FROM job_results")[0][0])
            self.assertTrue(worker.alive(), "one job may be at fault itself")

            jobs = client.submit(*(wire.generate(max_attempts=1) for _ in range(20)))
            worker.expected_exit = {1}
            self.assertEqual(1, worker.wait())
            self.assertIn("3 jobs in a row have failed on plan 0", worker.text())
            until(lambda: not self.sql("SELECT 1 FROM job_status WHERE state = 'running'"), "its jobs go back")
            rows = self.sql("SELECT state, error_code FROM job_status WHERE id <> ?", first)
            self.assertEqual({("failed", "corrupt"), ("queued", None)}, {tuple(row) for row in rows})
            self.assertLess(sum(row["state"] == "failed" for row in rows), len(jobs))

            waiting = [row["id"] for row in self.sql("SELECT id FROM job_status WHERE state = 'queued'")]
            self.start_worker()
            self.assertEqual({"succeeded"}, {job["state"] for job in client.wait(*waiting)}, "with sound weights")


class Alone(SystemTest):
    def lonely_worker(self):
        worker = self.start_worker(ready=False)
        until(lambda: "is dslad running" in worker.text(), "the worker says that no daemon answers")
        self.assertIn(self.workers_url, worker.text())
        return worker

    def test_a_worker_waits_for_a_daemon_that_comes_later(self):
        worker = self.lonely_worker()
        self.start_daemon()
        self.await_worker(worker)
        with self.peer() as client:
            [job] = client.submit(wire.generate())
            self.assertEqual("succeeded", client.wait(job)[0]["state"])

    def test_a_worker_without_a_daemon_ends_when_told_to(self):
        worker = self.lonely_worker()
        worker.child.terminate()
        self.assertEqual(0, worker.wait())


if __name__ == "__main__":
    unittest.main()
