"""How a worker prompts its model: the chat template that it has or lacks, and documents that take long to become tokens."""

import pathlib
import re
import unittest

import wire
from chat_case import ZEPHYR, ChatCase
from harness import SANITIZED, SystemTest, until

WORD = "A cat sat on a mat. "


def large_job(kibibytes, questions=1):
    document = WORD * (kibibytes * 1024 // len(WORD))
    return {"task": "qa", "document": document, "questions": [f"Question {i}?" for i in range(questions)]}


class ChatTemplates(ChatCase):
    def test_the_one_that_the_model_has_is_used_and_told_of(self):
        self.start_daemon()
        worker = self.start_worker(model=self.model_with(ZEPHYR))
        self.assertIn("summarize by chat template, qa by chat template, generate by default; "
                      "chat template: Zephyr of tokenizer_config.json", worker.text())
        self.assertRegex(worker.text(), "answers end with: 2 </s>")
        self.assertNotIn("unknown", worker.text())
        with self.peer() as client:
            (job,) = client.submit({"task": "qa", "document": "Tom is here.", "questions": ["Who?"]})
            client.wait(job)
            asked = client.result(job)["metrics"]["prompt_tokens"]
        self.assertGreater(asked, 40, "the turn is part of the prompt")

    def test_one_that_is_unknown_is_warned_of(self):
        self.start_daemon()
        worker = self.start_worker(model=self.model_with("{{ '<|them|>' + messages[0]['content'] }}"))
        warning = next(line for line in worker.text().splitlines() if "unknown (" in line)
        self.assertIn("tokenizer_config.json", warning)
        self.assertIn("dslad.toml", warning)


class LargeDocuments(SystemTest):
    """A model of 512 tokens refuses them, but only its tokenizer can tell."""

    def test_the_others_go_on_while_they_become_tokens(self):
        self.start_daemon()
        worker = self.start_worker()
        with self.peer() as client:
            (answering,) = client.submit(
                {"task": "qa", "document": WORD, "questions": [f"Question {i}?" for i in range(60)], "options": {"max_tokens": 30}}
            )
            until(lambda: client.job(answering)["state"] == "running", "the first job runs")
            job = large_job(512)
            large = [client.submit(job)[0] for _ in range(5)]
            client.wait(answering, *large)
            self.assertEqual("succeeded", client.job(answering)["state"])
            for one in large:
                error = client.job(one)["error"]
                self.assertEqual(wire.INVALID_ARGUMENT, error["code"])
                self.assertRegex(error["message"], r"the prompt has \d+ tokens")
        ended = [int(job) for job in re.findall(r" (?:done|failed): .*JOB_ID=(\d+)", worker.text())]
        self.assertEqual({answering, *large}, set(ended), worker.text())
        self.assertLess(ended.index(answering), ended.index(large[-1]))

    def test_one_that_is_cancelled_meanwhile_is_forgotten(self):
        self.start_daemon()
        worker = self.start_worker()
        with self.peer() as client:
            job = large_job(512)
            large = [client.submit(job)[0] for _ in range(3)]
            until(lambda: client.job(large[0])["state"] != "queued", "the worker has the first one")
            for one in reversed(large):
                client.request("cancel", {"ids": [one]})
            (small,) = client.submit(wire.generate())
            client.wait(small, *large)
            self.assertEqual("succeeded", client.job(small)["state"])
            self.assertIn(client.job(large[2])["state"], ("cancelled", "failed"))
        self.assertTrue(worker.alive())

    def test_a_worker_that_stops_gives_them_back(self):
        self.start_daemon()
        worker = self.start_worker("--drain-s", 0)
        with self.peer() as client:
            job = large_job(512)
            large = [client.submit(job)[0] for _ in range(3)]
            until(lambda: client.job(large[0])["state"] != "queued", "the worker has the first one")
            worker.finish()
            self.assertIn(client.job(large[2])["state"], ("queued", "failed"))

    @unittest.skipIf(SANITIZED, "memory is the sanitizer's")
    def test_memory_is_that_of_one_document_whatever_the_questions(self):
        self.start_daemon()
        worker = self.start_worker()

        def peak_mib():
            status = pathlib.Path(f"/proc/{worker.child.pid}/status").read_text()
            return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024

        with self.peer() as client:
            peaks = []
            for questions in (1, 250):
                (job,) = client.submit(large_job(512, questions))
                client.wait(job)
                peaks.append(peak_mib())
        self.assertLess(peaks[1] - peaks[0], 60, "250 copies of the document are 125 MiB")


if __name__ == "__main__":
    unittest.main()
