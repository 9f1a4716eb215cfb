"""Documents beyond the model's context: refused, cut or read in parts, as the job or the service says."""

import json
import unittest

import wire
from harness import SystemTest, until

SENTENCE = "Tom had a red ball and Lily had a big box. They were happy.\n\n"
DOCUMENT = SENTENCE * 120  # the model's context is 512 tokens


class Overflow(SystemTest):
    def submit(self, client, **job):
        (id,) = client.submit({"document": DOCUMENT, "options": {"max_tokens": 12}, **job})
        client.wait(id)
        return id

    def rows(self, *query):
        return [tuple(row) for row in self.sql(*query)]

    def test_a_document_that_is_too_long_is_handled_as_the_job_says(self):
        self.start_daemon()
        worker = self.start_worker()
        questions = ["Who had a ball?", "What did Lily have?"]
        with self.peer() as client:
            refused = self.submit(client, task="summarize")
            error = client.job(refused)["error"]
            self.assertEqual(wire.INVALID_ARGUMENT, error["code"])
            self.assertRegex(error["message"], r"the prompt has \d+ tokens, but the model's context is 512")
            self.assertIn("--overflow", error["message"])

            cut = client.result(self.submit(client, task="qa", questions=questions, overflow="truncate"))
            self.assertEqual("succeeded", cut["job"]["state"])
            self.assertGreater(cut["metrics"]["cut_tokens"], 1000)
            self.assertEqual(0, cut["metrics"]["parts"])

            parts = client.result(self.submit(client, task="qa", questions=questions, overflow="map-reduce"))
            count = parts["metrics"]["parts"]
            self.assertGreater(count, 4)
            self.assertEqual(0, parts["metrics"]["cut_tokens"])
            self.assertEqual(questions, [output["question"] for output in parts["outputs"]])
            for output in parts["outputs"]:
                self.assertIn(output["part"], range(1, count + 1))
            self.assertGreater(parts["metrics"]["prompt_tokens"], cut["metrics"]["prompt_tokens"] * 3)
            spent = parts["metrics"]["prefill_ms"] + parts["metrics"]["decode_ms"]
            job = parts["job"]
            self.assertLess(0, spent)
            self.assertLess(spent, job["ended_ms"] - job["started_ms"] + 100, "parts side by side count once")

            summary = self.submit(client, task="summarize", overflow="map-reduce")
            self.assertEqual(0, client.result(summary)["outputs"][0]["part"])
            self.assertGreater(client.result(summary)["metrics"]["parts"], 4)
        self.assertRegex(worker.text(), r"accepted, plan 0, in \d+ parts")
        self.assertRegex(worker.text(), r"accepted, plan 0, without \d+ tokens of its middle")
        rows = self.rows("SELECT s.overflow, m.parts > 0, m.cut_tokens > 0 FROM job_status s JOIN job_metrics m USING (id) "
                         "ORDER BY id")
        self.assertEqual([("error", 0, 0), ("truncate", 0, 1), ("map-reduce", 1, 0), ("map-reduce", 1, 0)], rows)
        part = self.rows("SELECT part FROM job_results WHERE id = ? ORDER BY number", parts["job"]["id"])
        self.assertEqual([(output["part"],) for output in parts["outputs"]], part)

    def test_the_service_has_a_default_and_a_job_overrules_it(self):
        self.start_daemon("--set", "queue.overflow=truncate")
        self.start_worker()
        file = self.folder / "long.txt"
        file.write_text(DOCUMENT)
        text = self.ctl_ok("submit", "summarize", file, "--max-tokens", "12", "--wait", "--json")
        outcome = json.loads(text.splitlines()[-1])
        self.assertGreater(outcome["metrics"]["cut_tokens"], 0)
        text = self.ctl_ok("submit", "summarize", file, "--max-tokens", "12", "--overflow", "map-reduce", "--wait", "--json")
        outcome = json.loads(text.splitlines()[-1])
        self.assertGreater(outcome["metrics"]["parts"], 0)
        refused = self.ctl("submit", "summarize", file, "--overflow", "error", "--wait")
        self.assertEqual(1, refused.returncode)
        self.assertIn("context is 512", refused.stderr)
        wrong = self.ctl("submit", "summarize", file, "--overflow", "cut")
        self.assertEqual(2, wrong.returncode)
        self.assertIn("map-reduce", wrong.stderr)
        with self.peer() as client:
            (short,) = client.submit({"task": "generate", "prompt": "Once", "options": {"max_tokens": 4}})
            client.wait(short)
            self.assertEqual("succeeded", client.job(short)["state"], "a prompt is never cut")
            with self.assertRaises(wire.Refusal) as refused:
                client.submit({"task": "generate", "prompt": "Once", "overflow": "truncate"})
            self.assertEqual(wire.INVALID_ARGUMENT, refused.exception.code)

    def test_a_key_without_a_word_on_it_meets_its_job_whatever_the_default_is(self):
        self.start_daemon("--set", "queue.overflow=map-reduce")
        job = {"task": "summarize", "document": "A text.", "idempotency_key": "k"}
        with self.peer() as client:
            (first,) = client.submit({**job, "overflow": "truncate"})
            self.assertEqual([first], client.submit(job))
            self.assertEqual([first], client.submit({**job, "overflow": "truncate"}))
            with self.assertRaisesRegex(wire.Refusal, "whose overflow is another"):
                client.submit({**job, "overflow": "error"})

    def test_one_that_is_cancelled_midway_leaves_the_engine(self):
        self.start_daemon()
        self.start_worker()
        with self.peer() as client:
            (long,) = client.submit({"task": "qa", "document": DOCUMENT * 100, "questions": ["Who?"], "overflow": "map-reduce",
                                     "options": {"max_tokens": 100}})
            until(lambda: client.job(long)["progress"]["tokens_out"] > 0, "it is at work")
            progress = client.job(long)["progress"]
            self.assertGreater(progress["prompt_total"], 200_000, "what is to come is counted")
            client.request("cancel", {"ids": [long]})
            next_one = self.submit(client, task="qa", document="Tom is here.", questions=["Who?"])
            self.assertEqual("succeeded", client.job(next_one)["state"])


if __name__ == "__main__":
    unittest.main()
