"""A real worker that keeps documents of its jobs, where it is asked to, and distils on them."""

import json
import os
import shutil
import signal
import unittest

from harness import until
from idle_case import ScriptCase, ToolCase, state_of


class Kept(ScriptCase):
    """What lies on the disk, and when."""

    def test_nothing_is_written_of_jobs_unless_that_was_asked_for(self):
        for options in ((), self.options()):
            self.serve(*options, allowed=False)
            self.answer(3)
            self.worker.signal(signal.SIGTERM)
            self.assertEqual(0, self.worker.wait())
            files = [file for file in self.model.rglob("*") if file.is_file()]
            self.assertEqual([], [file for file in files if b"CLASSIFIED" in file.read_bytes()])
            self.assertFalse(self.recent.exists())

    def test_documents_of_answered_jobs_are_kept_once_and_are_the_workers_alone(self):
        self.serve(*self.recent_options(), allowed=False)
        self.answer(2)
        self.jobs = 0
        self.answer(2)  # reruns, say
        self.assign(prompt="Lily had a ball.")
        self.result()
        self.assign(prompt="Once", plan=0, options={"max_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0})
        self.result()
        self.assign(tokens=400, prompt="It is cancelled.")
        self.daemon.send("cancel", job=self.jobs, attempt=1, reason="a test")
        self.assign(prompt="x" * 100000, options={"max_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0})  # beyond the context
        self.assertIn("error", self.result())
        self.worker.signal(signal.SIGTERM)
        self.assertEqual(0, self.worker.wait())
        kept = {file.read_text(): file for file in self.recent.iterdir()}
        self.assertEqual({self.document(0), self.document(1), "Lily had a ball.", "Once"}, set(kept))
        self.assertEqual(4, len(list(self.recent.iterdir())))
        self.assertEqual({0o600}, {file.stat().st_mode & 0o777 for file in kept.values()})
        self.assertEqual(0o700, self.recent.stat().st_mode & 0o777)
        self.assertEqual([], self.runs(), "nothing was allowed")

    def test_it_waits_for_documents_and_later_ones_do_not_disturb_the_layer_in_work(self):
        self.serve(*self.recent_options())
        self.await_log("idle distilling: waits for documents of jobs: 0 KiB are there, 64 KiB are needed")
        self.answer(9)
        pid = self.child()
        command = self.command_of(pid)
        frozen = self.chain / "idle/texts.jsonl"
        self.assertEqual(str(frozen), command[command.index("--text") + 1])
        lines = [json.loads(line) for line in frozen.read_text().splitlines()]
        self.assertEqual([self.document(index) for index in range(9)], [line["document"] for line in lines])
        self.assertEqual(0o600, frozen.stat().st_mode & 0o777)
        self.answer(9, first=9)
        self.worker.kill()
        until(lambda: state_of(pid) in (None, "Z"), "the child is gone")
        self.serve(*self.recent_options())
        self.assertEqual(command, self.command_of(self.child()))
        self.assertEqual(9, len(frozen.read_text().splitlines()))
        self.assertNotIn("begins anew", self.worker.text())

    def test_documents_that_somebody_erased_are_not_trained_on(self):
        self.serve(*self.recent_options())
        self.answer(9)
        pid = self.child()
        (self.chain / "idle/texts.jsonl").unlink()
        shutil.rmtree(self.recent)
        os.kill(pid, signal.SIGKILL)
        self.await_log("waits for documents of jobs: 0 KiB are there")
        self.answer(9, first=9)
        self.await_log("begins anew; its documents are gone")
        self.child()
        self.assertNotIn(self.document(0), (self.chain / "idle/texts.jsonl").read_text())

    def test_switched_off_it_removes_what_it_has_kept(self):
        self.serve(*self.recent_options())
        self.answer(9)
        self.child()
        self.serve(*self.options(), allowed=False)  # beside the one that keeps them: they are its own
        self.assertTrue(self.recent.exists())
        self.await_log("documents that --distil-recent has kept stay there: ")
        for options in (self.recent_options(0), ()):
            with self.subTest(options=options):
                self.finish_processes()
                (self.chain / "idle/texts.jsonl").write_text("{}")
                self.recent.mkdir(exist_ok=True)
                self.serve(*options, allowed=False)
                self.assertFalse(self.recent.exists())
                self.assertFalse((self.chain / "idle/texts.jsonl").exists())
                self.assertIn("removed the documents that --distil-recent had kept", self.worker.text())

    def test_documents_that_cannot_be_kept_are_said_once_and_jobs_go_on(self):
        self.recent.parent.mkdir(parents=True)
        self.recent.write_text("no folder")
        self.serve(*self.recent_options())
        self.answer(5)
        self.await_log("--distil-recent: documents are not kept: ")
        self.assertEqual(1, self.worker.text().count("documents are not kept"))
        self.recent.unlink()
        self.answer(9)
        self.child()


class Distilled(ToolCase):
    """Chains that grow from what users have sent."""

    def test_layers_are_distilled_on_the_documents_of_jobs(self):
        self.serve(*self.recent_options(), "--distil-layers", 2)
        self.answer(9)
        offered = self.await_table(3)
        self.assertEqual([1.0, 1.0, 1.0], [plan["quality"] for plan in offered["plans"]])
        self.await_log("all 2 layers are converted")
        recipe = self.manifest()["recipe"]
        self.assertEqual(["texts.jsonl"], [file["file"] for file in recipe["data"]["files"]])
        self.assertEqual(1, recipe["from"]["keep"], "a stage for each layer")
        until(lambda: ["recent"] == [file.name for file in (self.chain / "idle").iterdir()], "nothing else is left")
        self.assertEqual(9, len(list(self.recent.iterdir())))
        self.assign(plan=2)
        self.assertEqual(2, self.result()["metrics"]["plan"])

    def test_a_layer_takes_the_documents_that_there_are_when_it_is_begun(self):
        self.serve(*self.recent_options(), "--distil-layers", 1)
        self.answer(9)
        self.await_table(2)
        self.worker.signal(signal.SIGTERM)
        self.worker.wait()
        self.serve(*self.recent_options(), "--distil-text", self.text, "--distil-layers", 2, allowed=False)
        self.answer(3, first=9)
        until(lambda: len(list(self.recent.glob("*.txt"))) == 12, "they are written")
        self.allow()
        self.await_table(3)
        recipes = [self.manifest()["recipe"], self.manifest()["recipe"]["from"]["recipe"]]
        files = [[file["file"] for file in recipe["data"]["files"]] for recipe in recipes]
        self.assertEqual([["story.txt", "texts.jsonl"], ["texts.jsonl"]], files)
        digests = [recipe["data"]["files"][-1]["digest"] for recipe in recipes]
        self.assertNotEqual(*digests)


if __name__ == "__main__":
    unittest.main()
