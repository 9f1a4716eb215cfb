"""The queue's promises to those who submit: order, exactness, idempotency, cancelling, how jobs fail."""

import unittest

import wire
from fake_worker import lease_of
from queue_case import QueueTest
from wire import generate

LONG_KEY = "nightly/2025-06-11:/srv/documents/a report with a long name.txt"


class Order(QueueTest):
    def test_higher_priority_runs_first_and_ties_run_by_arrival(self):
        low, first, high, second = self.client.submit(
            generate(priority=-5), generate(), generate(priority=7), generate()
        )
        worker = self.worker(capacity=1)
        order = []
        for _ in range(4):
            job = worker.take_job()
            order.append(job["job"])
            self.assertTrue(worker.finish(job))
        self.assertEqual([high, first, second, low], order)

    def test_a_worker_never_holds_more_jobs_than_its_capacity(self):
        self.client.submit(*[generate() for _ in range(5)])
        worker = self.worker(capacity=2)
        held = [worker.take_job(), worker.take_job()]
        self.assertEqual(3, self.client.request("status")["jobs"]["queued"])
        self.assertEqual(2, self.client.request("status")["jobs"]["running"])
        self.assertTrue(worker.finish(held[0]))
        worker.take_job()
        self.assertEqual(2, self.client.request("status")["jobs"]["queued"])

    def test_a_job_reaches_the_worker_exactly_as_it_was_submitted(self):
        options = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.25, "seed": 2**64 - 1}
        document = "Ünïcode \U0001f600 \x00 and a tab\t, twice. " * 1000
        self.client.submit({"task": "qa", "document": document, "questions": ["¿Qué?", "Who?"], "options": options})
        job = self.worker().take_job()
        self.assertEqual(("qa", document, ["¿Qué?", "Who?"]), (job["task"], job["document"], job["questions"]))
        self.assertEqual(options, job["options"])


class Idempotency(QueueTest):
    def test_a_repeated_key_returns_the_first_job_even_after_it_has_ended(self):
        first = self.client.request("submit", {"jobs": [generate(idempotency_key="k")]})
        again = self.client.request("submit", {"jobs": [generate(idempotency_key="k")]})
        self.assertEqual((first["ids"], [False], [True]), (again["ids"], first["duplicates"], again["duplicates"]))
        with self.assertRaises(wire.Refusal) as refusal:
            self.client.submit(generate("other text", idempotency_key="k"))
        self.assertEqual(wire.REFUSED, refusal.exception.code)
        self.assertIn(f"job {first['ids'][0]}, whose prompt is another", refusal.exception.message)
        worker = self.worker()
        worker.finish(worker.take_job())
        self.assertEqual(first["ids"], self.client.submit(generate(idempotency_key="k")))

    def test_a_key_outlives_the_daemon(self):
        first = self.client.submit(generate(idempotency_key=LONG_KEY))
        self.daemon.kill()
        self.start_daemon()
        with self.peer() as client:
            self.assertEqual(first, client.submit(generate(idempotency_key=LONG_KEY)))
        self.assertEqual([LONG_KEY], [row["idempotency_key"] for row in self.sql("SELECT * FROM job_status")])

    def test_a_key_twice_in_one_batch_makes_one_job(self):
        one, other = self.client.submit(generate(idempotency_key="k"), generate(idempotency_key="k"))
        self.assertEqual(one, other)

    def test_a_batch_with_one_bad_job_is_refused_as_a_whole(self):
        with self.assertRaises(wire.Refusal) as refusal:
            self.client.submit(generate(), generate(max_tokens=0))
        self.assertEqual(wire.INVALID_ARGUMENT, refusal.exception.code)
        self.assertEqual([], self.client.request("list")["jobs"])


class Batches(QueueTest):
    def submit(self, files):
        lines = self.ctl_ok("submit", "summarize", *files).splitlines()
        return [int(line.split()[1]) for line in lines]

    def test_more_files_than_one_request_takes_become_jobs_in_their_order(self):
        files = [self.folder / f"{n}.txt" for n in range(1100)]
        for file in files:
            file.write_text(f"This is {file.name}.")
        self.assertEqual(list(range(1, 1101)), self.submit(files))
        worker = self.worker(capacity=2)
        self.assertEqual(["This is 0.txt.", "This is 1.txt."], [worker.take_job()["document"] for _ in range(2)])

    def test_files_that_together_exceed_a_frame_are_all_taken(self):
        files = [self.folder / f"{n}.txt" for n in range(3)]
        for file in files:
            file.write_text(file.name * ((7 << 20) // len(file.name)))
        jobs = self.submit(files)
        worker = self.worker(capacity=3)
        documents = {job["job"]: job["document"] for job in (worker.take_job() for _ in jobs)}
        self.assertEqual([file.read_text() for file in files], [documents[job] for job in jobs])


class Cancelling(QueueTest):
    def test_a_cancelled_queued_job_never_runs(self):
        unwanted, wanted = self.client.submit(generate(), generate())
        reply = self.client.request("cancel", {"ids": [unwanted, 999]})
        self.assertEqual(([unwanted], [999]), (reply["cancelled"], reply["not_found"]))
        self.assertEqual(wanted, self.worker().take_job()["job"])
        self.assertEqual("cancelled", self.state(unwanted))

    def test_cancelling_a_running_job_tells_its_worker_and_drops_its_result(self):
        [job] = self.client.submit(generate())
        worker = self.worker()
        assigned = worker.take_job()
        self.client.request("cancel", {"ids": [job]})
        self.assertEqual(lease_of(assigned), lease_of(worker.expect("cancel").body))
        self.assertFalse(worker.finish(assigned))
        result = self.client.result(job)
        self.assertEqual(("cancelled", []), (result["job"]["state"], result["outputs"]))
        self.client.submit(generate())
        self.assertTrue(worker.finish(worker.take_job()), "the worker is of further use")

    def test_a_job_that_has_ended_stays_as_it_is(self):
        [job] = self.client.submit(generate())
        worker = self.worker()
        worker.finish(worker.take_job())
        self.assertEqual([], self.client.request("cancel", {"ids": [job]})["cancelled"])
        self.assertEqual("succeeded", self.state(job))


class Failures(QueueTest):
    def test_a_bad_job_fails_at_once_with_the_workers_message(self):
        [job] = self.client.submit(generate())
        worker = self.worker()
        worker.send_error(worker.take_job(), wire.INVALID_ARGUMENT, "the document has 9000 tokens")
        [info] = self.client.wait(job)
        self.assertEqual(("failed", 1), (info["state"], info["attempt"]))
        self.assertEqual({"code": wire.INVALID_ARGUMENT, "message": "the document has 9000 tokens"}, info["error"])

    def test_an_internal_error_uses_up_attempts_one_by_one(self):
        [job] = self.client.submit(generate(max_attempts=2))
        worker = self.worker()
        for attempt in (1, 2):
            assigned = worker.take_job()
            self.assertEqual(attempt, assigned["attempt"])
            worker.send_error(assigned, wire.INTERNAL, "out of luck")
        [info] = self.client.wait(job)
        self.assertEqual(("failed", 2), (info["state"], info["attempt"]))
        self.assertEqual(["failed", "failed"], self.attempts(job))

    def test_a_job_expires_when_its_time_is_up(self):
        [job] = self.client.submit(generate(expires_in_ms=1))
        self.assertEqual("expired", self.client.wait(job)[0]["state"])
        done = self.ctl("submit", "generate", "--prompt", "x", "--expires-in", 0.05, "--wait", "-q")
        self.assertEqual(1, done.returncode)
        self.assertIn("expired", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
