"""The main job from end to end: every task through dslactl, dslad and dslad-worker with a trained model, and what the
tool prints and the database says about it."""

import json
import sqlite3
import unittest

import wire
from harness import MODEL, SOURCE, SystemTest, until

OK, JOB_FAILED, USAGE, REFUSED = 0, 1, 2, 4
GOLDEN = json.loads((MODEL / "golden.json").read_text())["greedy_text"]
GGUF = SOURCE / "tests/golden/gguf/stories260K.gguf"
STORY = "Tom had a red ball. He lost the ball in the park. A kind dog found it. Tom was happy."


class EndToEnd(SystemTest):
    def setUp(self):
        super().setUp()
        self.start_daemon()
        self.worker = self.start_worker()

    def ctl_json(self, *arguments, status=OK, **others):
        """The lines that `dslactl --json` prints, parsed."""
        done = self.ctl(*arguments, "--json", **others)
        self.assertEqual(status, done.returncode, done.stdout + done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def submit(self, *arguments, **others):
        return [line["id"] for line in self.ctl_json("submit", *arguments, **others)]

    def story(self, name="story.txt", text=STORY):
        path = self.folder / name
        path.write_text(text)
        return path


class Gguf(SystemTest):
    def test_a_worker_serves_a_gguf_file(self):
        self.start_daemon()
        self.start_worker(model=GGUF)
        text = self.ctl_ok("submit", "generate", "--prompt", GOLDEN[:4], "--max-tokens", 60, "--wait", "-q")
        text = text.split("\n", 1)[1]
        self.assertTrue(GOLDEN[4:].startswith(text.rstrip("\n")), text)
        self.assertEqual(["stories260K"], [row["model"] for row in self.sql("SELECT DISTINCT model FROM job_metrics")])


class FewBits(SystemTest):
    def test_a_worker_serves_with_weights_of_eight_and_of_four_bits(self):
        self.start_daemon()
        for dtype in ("int8", "int4"):
            worker = self.start_worker(dtype=dtype)
            self.assertEqual([dtype], [entry["dtype"] for entry in self.status()["workers"]])
            jobs = [self.ctl_ok("submit", "generate", "--prompt", GOLDEN[:4], "--max-tokens", 40, "--wait", "-q")
                    for _ in range(2)]
            texts = [text.split("\n", 1)[1] for text in jobs]
            self.assertIn(" ", texts[0].strip(), "no words")
            self.assertEqual(texts[0], texts[1])
            self.assertIsNone(worker.finish())


class Tasks(EndToEnd):
    def test_generate_prints_the_models_golden_text(self):
        text = self.ctl_ok("submit", "generate", "--prompt", GOLDEN[:4], "--max-tokens", 60, "--wait", "-q")
        first, text = text.split("\n", 1)
        self.assertEqual("job 1", first)
        self.assertTrue(text.strip(), "no text")
        self.assertTrue(GOLDEN[4:].startswith(text.rstrip("\n")), text)

    def test_summarize_takes_files_and_standard_input(self):
        ids = self.submit("summarize", self.story(), self.story("other.txt", "A cat sat on a mat. " * 3), "-",
                          "--max-tokens", 12, stdin=STORY)
        self.assertEqual([1, 2, 3], ids)
        self.ctl_ok("wait", *ids)
        first, _, third = [self.ctl_json("result", job)[0] for job in ids]
        self.assertEqual(("summarize", "succeeded"), (first["task"], first["state"]))
        self.assertEqual(first["outputs"], third["outputs"], "the same document gave another summary")

    def test_qa_answers_each_question_in_order_and_prefills_the_document_once(self):
        questions = ["Who lost the ball?", "Where?", "Who found it?"]
        [job] = self.submit("qa", "--document", self.story(), *[f"--question={q}" for q in questions],
                            "--max-tokens", 10)
        self.ctl_ok("wait", job)
        [result] = self.ctl_json("result", job)
        self.assertEqual(questions, [output["question"] for output in result["outputs"]])
        [alone] = self.submit("qa", "--document", self.story(), "--question", questions[1], "--max-tokens", 10)
        self.ctl_ok("wait", alone)
        [single] = self.ctl_json("result", alone)
        self.assertEqual(result["outputs"][1]["text"], single["outputs"][0]["text"])
        together = result["metrics"]["prompt_tokens"]
        self.assertLess(together, 3 * single["metrics"]["prompt_tokens"])

    def test_result_has_the_documented_shape(self):
        [job] = self.submit("generate", "--prompt", "One day", "--max-tokens", 5, "--custom-id", "mine")
        self.ctl_ok("wait", job)
        [result] = self.ctl_json("result", job)
        self.assertEqual((job, "succeeded", "generate", "mine"),
                         (result["id"], result["state"], result["task"], result["custom_id"]))
        [output] = result["outputs"]
        self.assertEqual("length", output["finish_reason"])
        self.assertNotIn("question", output)
        metrics = result["metrics"]
        self.assertEqual((5, 0, 1), (metrics["output_tokens"], metrics["plan"], metrics["attempt"]))
        self.assertGreater(metrics["prompt_tokens"], 0)
        self.assertGreaterEqual(metrics["prefill_ms"], 0)
        self.assertIn(str(self.worker.child.pid), metrics["worker"])
        self.assertEqual(("stories260K", 1.0, 32), (metrics["model"], metrics["quality"], len(metrics["model_digest"])))

    def test_a_seed_makes_drawn_text_repeatable(self):
        def draw(seed):
            out = self.ctl_ok("submit", "generate", "--prompt", "Once", "--max-tokens", 40, "--temperature", 1,
                              "--top-p", 0.95, "--seed", seed, "--wait", "-q")
            return out.split("\n", 1)[1]

        self.assertEqual(draw(7), draw(7))
        self.assertGreater(len({draw(seed) for seed in range(4)}), 1)

    def test_a_document_beyond_the_context_fails_with_a_clear_error_and_is_not_tried_again(self):
        [job] = self.submit("summarize", self.story("long.txt", STORY * 100))
        done = self.ctl("wait", job)
        self.assertEqual(JOB_FAILED, done.returncode)
        self.assertIn("512", done.stdout, "the error names the context's length")
        self.assertEqual(JOB_FAILED, self.ctl("result", job).returncode)
        [result] = self.ctl_json("result", job, status=JOB_FAILED)
        self.assertEqual(("failed", []), (result["state"], result["outputs"]))
        self.assertIn("tokens", result["error"]["message"])
        self.assertEqual(1, self.sql("SELECT attempt FROM job_status WHERE id = ?", job)[0]["attempt"])

    def test_the_same_key_returns_the_first_job(self):
        again = ("generate", "--prompt", "Hi", "--max-tokens", 3, "--idempotency-key", "key")
        [first] = self.ctl_json("submit", *again)
        [second] = self.ctl_json("submit", *again)
        self.assertEqual(({"id": 1}, {"id": 1, "duplicate": True}), (first, second))
        self.assertIn("known", self.ctl_ok("submit", *again))
        files = ("summarize", self.story("a"), self.story("b"), "--max-tokens", 3, "--idempotency-key", "night")
        self.assertEqual(self.submit(*files), self.submit(*files))
        self.assertEqual(3, len(self.sql("SELECT id FROM job_status")))


class Verbs(EndToEnd):
    def test_status_stats_and_list_tell_what_happened(self):
        self.ctl_ok("submit", "generate", "--prompt", "One", "--max-tokens", 4, "--wait", "--custom-id", "named")
        [status] = self.ctl_json("status")
        self.assertEqual((1, 0), (status["jobs"]["succeeded"], status["jobs"]["failed"]))
        [worker] = status["workers"]
        self.assertEqual(("cpu", "f32", "stories260K"), (worker["device"], worker["dtype"], worker["model"]))
        self.assertIn("1 succeeded", self.ctl_ok("status"))
        [stats] = self.ctl_json("stats")
        self.assertTrue(stats["counters"])
        self.assertIn("COUNTER", self.ctl_ok("stats"))
        [listing] = self.ctl_json("list", "--state", "succeeded")
        self.assertEqual(["named"], [job["custom_id"] for job in listing["jobs"]])
        self.assertRegex(self.ctl_ok("list"), r"(?m)^ *1  generate  succeeded .* named$")
        self.assertEqual("no jobs\n", self.ctl_ok("list", "--state", "failed"))

    def test_list_pages_from_the_newest_on(self):
        ids = [self.submit("generate", "--prompt", "x", "--max-tokens", 1)[0] for _ in range(5)]
        [page] = self.ctl_json("list", "--limit", 2)
        self.assertEqual((ids[:2:-1], True), ([job["id"] for job in page["jobs"]], page["more"]))
        self.assertIn("--before 4", self.ctl_ok("list", "--limit", 2))
        [rest] = self.ctl_json("list", "--before", ids[3])
        self.assertEqual(ids[2::-1], [job["id"] for job in rest["jobs"]])

    def test_an_unknown_job_is_refused_by_every_verb_that_names_jobs(self):
        for verb in ("result", "wait", "cancel"):
            done = self.ctl(verb, 4711)
            self.assertEqual(REFUSED, done.returncode, verb)
            self.assertIn("4711", done.stderr, verb)

    def test_wait_gives_up_in_time_and_the_job_goes_on(self):
        self.worker.signal(19)  # SIGSTOP: whatever the worker holds stays there
        [job] = self.submit("generate", "--prompt", "x", "--max-tokens", 2)
        for timeout in (0, 0.2):
            done = self.ctl("wait", job, "--timeout", timeout)
            self.assertEqual(JOB_FAILED, done.returncode)
            self.assertIn(f"job {job} has not ended in time", done.stderr)
        self.assertEqual(JOB_FAILED, self.ctl("result", job).returncode)
        self.worker.signal(18)  # SIGCONT
        self.assertRegex(self.ctl_ok("wait", job), rf"^job {job} succeeded after ")

    def test_cancel_ends_queued_jobs_and_those_that_a_worker_has_and_refuses_ended_ones(self):
        self.worker.signal(19)
        jobs = [self.submit("generate", "--prompt", "x", "--max-tokens", 300)[0] for _ in range(3)]
        until(lambda: any(job["at_worker"] for job in self.ctl_json("list")[0]["jobs"]),
              "a job is in the stopped worker's hands, which cannot begin it")
        [reply] = self.ctl_json("cancel", *jobs)
        self.assertEqual(jobs, reply["cancelled"])
        self.worker.signal(18)
        self.assertEqual(REFUSED, self.ctl("cancel", jobs[0]).returncode)
        self.assertEqual(JOB_FAILED, self.ctl("wait", *jobs).returncode)
        self.ctl_ok("submit", "generate", "--prompt", "x", "--max-tokens", 2, "--wait")
        states = [row["state"] for row in self.sql("SELECT state FROM job_status ORDER BY id")]
        self.assertEqual(["cancelled"] * 3 + ["succeeded"], states)

    def test_the_views_can_be_read_while_jobs_run(self):
        jobs = [self.submit("generate", "--prompt", "x", "--max-tokens", 100)[0] for _ in range(8)]
        views = ("job_status", "job_metrics", "layer_status", "conversion_events")
        while not all(row["state"] == "succeeded" for row in self.sql("SELECT * FROM job_status")):
            for view in views:
                self.sql(f"SELECT * FROM {view}")
        rows = self.sql("SELECT * FROM job_metrics ORDER BY id")
        self.assertEqual(jobs, [row["id"] for row in rows])
        for column in ("queue_ms", "prefill_ms", "decode_ms", "prompt_tokens", "output_tokens", "plan", "worker"):
            self.assertTrue(all(row[column] is not None for row in rows), column)
        self.assertEqual({100}, {row["output_tokens"] for row in rows})
        with self.assertRaises(sqlite3.OperationalError):
            self.sql("UPDATE job_status SET state = 'queued'")


class Plan(EndToEnd):
    def layer_states(self):
        return [row["state"] for row in self.sql("SELECT state FROM layer_status ORDER BY layer")]

    def test_undistilled_layers_are_refused_unless_allowed(self):
        refused = self.ctl("plan", "set", 2)
        self.assertEqual(REFUSED, refused.returncode)
        self.assertIn("distilled", refused.stderr)
        self.assertEqual(["transformer"] * 5, self.layer_states())
        self.assertIn(self.ctl("plan", "set", 6, "--allow-undistilled").returncode, (USAGE, REFUSED))

        [reply] = self.ctl_json("plan", "set", 2, "--allow-undistilled", "--reason", "the test says so")
        self.assertEqual([2], [worker["plan"] for worker in reply["workers"]])
        self.assertEqual(2, self.layer_states().count("active"))
        self.assertEqual(2, self.ctl_ok("layers").count("active"))
        [layers] = self.ctl_json("layers")
        self.assertEqual(2, layers["models"][0]["plan"])
        events = self.sql("SELECT * FROM conversion_events ORDER BY id")
        self.assertEqual({("transformer", "active", "the test says so", 2)},
                         {(e["from_state"], e["to_state"], e["reason"], e["plan"]) for e in events})
        self.assertEqual([2], [worker["plan"] for worker in self.ctl_json("plan", "show")[0]["workers"]])

        self.ctl_ok("plan", "set", 0)
        self.assertEqual(0, self.layer_states().count("active"))
        self.assertEqual(4, len(self.sql("SELECT id FROM conversion_events")))

    def test_a_running_job_keeps_the_plan_with_which_it_began(self):
        prompt = ("--prompt", GOLDEN[:4], "--max-tokens", 400)
        expected = self.ctl_ok("submit", "generate", *prompt, "--wait", "-q").split("\n", 1)[1]
        jobs = [self.submit("generate", *prompt)[0] for _ in range(24)]
        with self.peer() as client:

            def begun():
                infos = [client.job(job) for job in jobs]
                begun = [i["id"] for i in infos if i["progress"]["phase"] == "decode" or i["state"] in wire.FINAL]
                return begun

            before = until(begun, "some jobs have begun")
        self.ctl_ok("plan", "set", 3, "--allow-undistilled")
        after = self.submit("generate", *prompt)[0]
        self.ctl_ok("wait", *jobs, after)
        plans = {job: self.ctl_json("result", job)[0] for job in [*jobs, after]}
        self.assertEqual({0}, {plans[job]["metrics"]["plan"] for job in before})
        self.assertEqual(3, plans[after]["metrics"]["plan"])
        for result in plans.values():
            same = result["outputs"][0]["text"] + "\n" == expected
            self.assertEqual(result["metrics"]["plan"] == 0, same, "the text is not that of the job's plan")


if __name__ == "__main__":
    unittest.main()
