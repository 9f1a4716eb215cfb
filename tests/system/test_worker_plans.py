"""A real worker and a daemon that does what the test says: plans of jobs, room, work, and a chain that is replaced."""

import json
import os
import shutil
import signal
import subprocess
import unittest

import harness
import wire
from fake_daemon import Daemon


class WorkerPlans(harness.SystemTest):
    def setUp(self):
        self.addCleanup(lambda: self.daemon.socket.close())  # after the worker's end: it waits for what was answered
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([harness.BIN / "make_chain", self.model, "3"], check=True)
        self.daemon = Daemon(self.workers_url)
        self.jobs = 0

    def serve(self, *options):
        """Starts the worker and welcomes it; returns its hello."""
        self.worker = self.start_worker(*options, model=self.model, ready=False)
        hello = self.daemon.receive("hello").body
        self.daemon.send("welcome", lease_ms=60000, heartbeat_ms=20)
        return hello

    def assign(self, prompt="Once upon a time", **body):
        self.jobs += 1
        self.daemon.send("assign", job=self.jobs, attempt=1,
                         **{"task": "generate", "prompt": prompt, "questions": [], "document": "",
                            "options": {"max_tokens": 8, "temperature": 0.0, "top_p": 1.0, "seed": 0}, **body})
        return {"job": self.jobs, "attempt": 1}

    def result(self):
        body = self.daemon.receive("result").body
        self.daemon.send("result_ack", job=body["job"], attempt=body["attempt"], accepted=True)
        return body

    def test_hello_offers_the_plans_with_quality_and_memory(self):
        hello = self.serve("--capacity", "4")
        self.assertEqual(32, len(hello["edition"]))
        self.assertEqual([0, 1, 2, 3], [plan["plan"] for plan in hello["plans"]])
        self.assertEqual([1.0, 0.875, 0.875, 0.875], [plan["quality"] for plan in hello["plans"]])
        tokens = [plan["kv_bytes_per_token"] for plan in hello["plans"]]
        self.assertEqual([5, 4, 3, 2], [each * 5 // tokens[0] for each in tokens])
        states = [plan["state_bytes"] for plan in hello["plans"]]
        self.assertEqual([0, 1, 2, 3], [each // states[1] for each in states])
        self.assertEqual(64 << 20, hello["cache_bytes"])
        self.assertEqual(3, hello["room"], "as many of the longest as fill two steps, and one more")

    def test_a_signal_as_early_as_its_hello_ends_it_in_order(self):
        for _ in range(20):
            worker = self.start_worker(model=self.model, ready=False)
            self.daemon.receive("hello")
            worker.signal(signal.SIGTERM)
            self.assertEqual("the worker stops", self.daemon.receive("goodbye").body["reason"])
            self.assertEqual(0, worker.wait())

    def test_a_job_runs_on_the_plan_it_was_given(self):
        self.serve()
        for given, ran in ((None, 0), (2, 2), (1, 1), (9, 3), (0, 0)):
            self.assign(**({} if given is None else {"plan": given}))
            metrics = self.result()["metrics"]
            self.assertEqual(ran, metrics["plan"])
        self.assertEqual(1.0, metrics["quality"])

    def test_a_result_says_what_share_of_the_engines_work_it_had(self):
        self.serve()
        self.assign()
        metrics = self.result()["metrics"]
        self.assertGreater(metrics["prefill_work_ms"], 0)
        self.assertGreater(metrics["decode_work_ms"], 0)
        self.assertAlmostEqual(metrics["prefill_work_ms"], metrics["prefill_ms"], msg="it was alone")
        self.assertEqual(1, metrics["batch"])

    def ask(self, question, **body):
        """A question on a document of some 350 tokens."""
        self.assign(prompt="", task="qa", document="Lily saw a bird in the park. " * 30, questions=[question], **body)
        return self.result()

    def test_a_document_that_was_read_is_not_read_for_the_next_question(self):
        self.serve()
        answers = {}
        for plan in (0, 2):
            first = self.ask("Who saw a bird?", plan=plan)
            self.assertEqual(0, first["metrics"]["reused_tokens"])
            self.assertEqual(256, self.ask("Where was it?", plan=plan)["metrics"]["reused_tokens"])
            again = self.ask("Who saw a bird?", plan=plan)
            self.assertEqual(256, again["metrics"]["reused_tokens"])
            self.assertEqual(first["outputs"], again["outputs"])
            prompt = again["metrics"]["prompt_tokens"]
            self.assertEqual(first["metrics"]["prompt_tokens"], prompt, "the whole one")
            self.assertIn(f"done: {prompt} prompt (256 reused) and 8 output tokens, plan {plan}", self.worker.text())
            answers[plan] = first["outputs"]
        self.assertNotEqual(answers[0], answers[2])
        engine = {}
        while engine.get("reused_tokens") != 4 * 256:
            engine = self.daemon.receive("heartbeat").body["engine"]
        self.assertEqual(0, engine["kv_bytes_used"] + engine["state_bytes_used"], "nobody needs what is kept")

    def test_what_was_read_is_not_kept_where_nobody_wants_that(self):
        self.serve("--prefix-cache", "off")
        for _ in range(2):
            self.assertEqual(0, self.ask("Who saw a bird?")["metrics"]["reused_tokens"])

    def test_what_has_begun_and_the_room_for_more_are_told_as_they_change(self):
        self.serve("--capacity", "3")
        leases = [self.assign(options={"max_tokens": 400, "temperature": 0.0, "top_p": 1.0, "seed": 0})
                  for _ in range(3)]
        begun, done, rooms = [], [], []
        while len(done) < 3:
            message = self.daemon.receive("room", "result")
            if message.kind == "result":
                done.append(message.body["job"])
                self.daemon.send("result_ack", job=message.body["job"], attempt=1, accepted=True)
                continue
            begun += message.body["begun"]
            rooms.append(message.body["room"])
            self.assertLessEqual(message.body["room"], 3 - len(begun) + len(done))
        self.assertEqual(leases, begun, "each once, in order")
        while rooms[-1] < 2:
            rooms.append(self.daemon.receive("room").body["room"])

    def test_a_job_for_a_larger_worker_says_what_it_needs(self):
        self.serve()
        self.assign(prompt="Lily saw a bird. " * 400)
        failed = self.result()
        self.assertGreater(failed["needs_context"], 512)
        self.assertEqual(0, failed["needs_cache_bytes"])
        self.assign(prompt=b"\xff".decode("latin-1"))
        self.assertEqual(0, self.result()["needs_context"])

    def test_plans_are_told_anew_when_one_is_prepared_and_when_the_chain_is_replaced(self):
        hello = self.serve()
        self.daemon.send("set_plan", request=1, plan=4, allow_undistilled=True, reason="a test", generation=1)
        prepared = self.daemon.receive("plans").body
        self.assertEqual((hello["edition"], 4), (prepared["edition"], prepared["plan"]))
        self.assertEqual([0, 1, 2, 3, 4], [plan["plan"] for plan in prepared["plans"]])
        manifest = json.loads((self.model / "dsla/chain.json").read_text())
        manifest["plans"][1]["quality"] = 0.5
        (self.model / "dsla/new.json").write_text(json.dumps(manifest))
        os.replace(self.model / "dsla/new.json", self.model / "dsla/chain.json")
        replaced = self.daemon.receive("plans").body
        self.assertNotEqual(hello["edition"], replaced["edition"])
        self.assertEqual(3, replaced["plan"], "the largest that the new one has")
        self.assertEqual([1.0, 0.875, 0.5, 0.875], [plan["quality"] for plan in replaced["plans"]])
        self.assertEqual(3, sum(layer["state"] == "active" for layer in replaced["layer_info"]))
        self.assign()
        self.assertEqual(replaced["edition"], self.result()["metrics"]["edition"])

    def test_plans_with_a_layer_that_gives_no_numbers_are_withdrawn_one_by_one(self):
        subprocess.run([harness.BIN / "make_chain", self.model, "4", "0"], check=True)  # the second of the order
        self.serve()
        leases = [self.assign(plan=plan) for plan in (4, 2, 1, 0)]
        results, tables = {}, []
        while len(results) < len(leases) or len(tables) < 2:
            message = self.daemon.receive("result", "plans")
            if message.kind == "plans":
                tables.append(message.body)
                continue
            body = message.body
            results[body["job"]] = body
            self.daemon.send("result_ack", job=body["job"], attempt=body["attempt"], accepted=True)
        for job, plan in ((1, 4), (2, 2)):
            self.assertEqual(wire.CORRUPT, results[job]["error"]["code"])
            self.assertIn(f"plan {plan} (edition", results[job]["error"]["message"])
            self.assertEqual(plan, results[job]["metrics"]["plan"])
            self.assertEqual([], results[job]["outputs"])
        for job, plan in ((3, 1), (4, 0)):
            self.assertNotIn("error", results[job])
            self.assertEqual(plan, results[job]["metrics"]["plan"])
        last = tables[-1]
        self.assertEqual([0, 1], [plan["plan"] for plan in last["plans"]])
        self.assertEqual({0}, {layer["layer"] for layer in last["layer_info"] if layer["state"] == "failed"})
        self.assertIn("plans from 2 on are out of use", self.worker.text())
        self.assign(plan=4)
        self.assertEqual(1, self.result()["metrics"]["plan"], "the largest that is left")

        subprocess.run([harness.BIN / "make_chain", self.model, "4"], check=True)
        self.assertEqual([0, 1, 2, 3, 4], [plan["plan"] for plan in self.daemon.receive("plans").body["plans"]])
        self.assign(plan=4)
        self.assertEqual(4, self.result()["metrics"]["plan"])


if __name__ == "__main__":
    unittest.main()
