"""The Python client (packaging/python) against the real daemon, in both its kinds: what a test of `Both` says holds for
plain calls and for coroutines."""

import signal
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from harness import PATIENCE, until
from python_client_case import Asynchronous, ClientTest, Job, Plain, dslad, generate

LONG = 3 << 20


class Both:
    """Submitting, waiting and looking; for a daemon of its own each test."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()
        self.client = self.connect()

    def test_a_job_is_submitted_waited_for_and_answered(self):
        self.serving()
        submitted = self.client.submit(Job.ask("A cat sat.", ["Who?", "Where?"], custom_id="cat", labels="pets"))
        self.assertEqual((1, (False,)), (submitted.id, submitted.duplicates))
        [info] = self.client.wait(submitted.id)
        self.assertEqual(("succeeded", "qa", "cat", ("pets",)), (info.state, info.task, info.custom_id, info.labels))
        self.assertTrue(info.ended and info.succeeded)
        result = self.client.result(submitted.id)
        self.assertEqual([("Who?", "A CAT SAT."), ("Where?", "A CAT SAT.")],
                         [(output.question, output.text) for output in result.outputs])
        self.assertEqual(("A CAT SAT.\nA CAT SAT.", 3, None), (result.text, result.metrics.prompt_tokens, result.rerun))
        self.assertEqual(self.client.job(submitted.id), result.job)

    def test_one_call_submits_waits_and_answers(self):
        self.serving()
        self.assertEqual("A CAT.", self.client.summarize("A cat.").text)
        self.assertEqual("A CAT.", self.client.ask("A cat.", "Who?", priority=3).text)
        generated = self.client.generate("Once", temperature=1, seed=7, client="me")
        self.assertEqual(("ONCE", "me"), (generated.text, generated.job.client))

    def test_what_a_job_asks_for_reaches_the_daemon(self):
        worker = self.worker()
        job = generate(temperature=0.5, top_p=0.25, seed=9, priority=-3, max_attempts=7, idempotency_key="k",
                       custom_id="mine", labels=["a", "b"], expires_in_ms=10**9, model="fake", deadline_in_ms=10**8,
                       min_quality=0.5, max_plan=4, best_effort=True, upgrade=True)
        info = self.client.job(self.client.submit(job, client="us").id)
        self.assertEqual(
            (-3, 7, "mine", ("a", "b"), "fake", info.created_ms + 10**8, 0.5, 4, True, "us"),
            (info.priority, info.max_attempts, info.custom_id, info.labels, info.model, info.deadline_ms,
             info.min_quality, info.max_plan, info.upgrade, info.client))
        self.assertEqual({"temperature": 0.5, "top_p": 0.25, "seed": 9, "max_tokens": 8}, worker.take_job()["options"])

    def test_what_becomes_of_a_document_that_is_too_long_is_the_jobs_word(self):
        worker = self.worker(capacity=2)
        self.client.submit([dslad.Job.summarize("A text.", overflow="map-reduce"), dslad.Job.summarize("A text.")])
        self.assertEqual(["map-reduce", "error"], [worker.take_job()["overflow"] for _ in range(2)])

    def test_a_job_may_wait_for_its_time(self):
        early, late = self.client.submit([generate(), generate(start_in_ms=10**7)]).ids
        self.serving()
        self.client.wait(early)
        info = self.client.job(late)
        self.assertEqual(("queued", info.created_ms + 10**7), (info.state, info.starts_ms))

    def test_a_job_without_an_answer_is_an_exception_that_says_why(self):
        self.serving()
        with self.assertRaisesRegex(dslad.JobFailed, "job 1 failed: it says fail") as failed:
            self.client.generate("fail")
        error = failed.exception
        self.assertEqual(("failed", 1, (1,)), (error.job.state, error.code, error.submitted.ids))
        result = self.client.result(1)
        self.assertEqual((False, ()), (result.succeeded, result.outputs))
        self.assertRaises(dslad.JobFailed, getattr, result, "text")

    def test_more_jobs_than_one_request_takes_are_taken_in_their_order(self):
        submitted = self.client.submit(generate(str(n)) for n in range(2500))
        self.assertEqual(tuple(range(1, 2501)), submitted.ids)
        self.assertEqual((2500, 2500), (len(submitted.duplicates), len(submitted.finish_ms)))
        worker = self.worker()
        self.assertEqual("0", worker.take_job()["prompt"])
        self.assertEqual(2500, len(list(self.client.jobs())))
        done = self.client.cancel(submitted.ids[:2400] + (9999,))
        self.assertEqual((2400, 2400, (9999,)), (len(done.jobs), len(done.cancelled), done.not_found))
        infos = self.client.wait(submitted.ids[:2400])
        self.assertEqual((submitted.ids[:2400], {"cancelled"}),
                         (tuple(info.id for info in infos), {info.state for info in infos}))

    def test_jobs_that_together_exceed_a_frame_are_all_taken(self):
        documents = [str(n) * (7 << 20) for n in range(3)]
        ids = self.client.submit([Job.summarize(document) for document in documents]).ids
        worker = self.worker(capacity=3)
        self.assertEqual(dict(zip(ids, documents)),
                         {job["job"]: job["document"] for job in (worker.take_job() for _ in ids)})

    def test_a_request_beyond_a_frame_is_refused_before_anything_is_sent(self):
        with self.assertRaisesRegex(dslad.InvalidArgument, "a request takes at most 16775168"):
            self.client.submit([generate(), Job.ask("x" * LONG, ["y" * LONG] * 5)])
        with self.assertRaisesRegex(dslad.InvalidArgument, "cannot be encoded"):
            self.client.submit(generate("\ud800"))
        self.assertEqual([], list(self.client.jobs()))

    def test_a_batch_that_goes_wrong_in_the_middle_tells_what_was_taken(self):
        with self.assertRaises(dslad.InvalidArgument) as refusal:
            self.client.submit([generate()] * 1024 + [Job.generate("x", max_tokens=0)])
        self.assertEqual(tuple(range(1, 1025)), refusal.exception.submitted.ids)

    def test_a_key_makes_a_repeated_submit_the_same_job(self):
        first = self.client.submit(generate(idempotency_key="k"))
        again = self.client.submit([generate(idempotency_key="k"), generate(idempotency_key="l")])
        self.assertEqual((first.id, (True, False)), (again.ids[0], again.duplicates))
        self.assertNotIn(again.ids[1], first.ids)
        with self.assertRaises(dslad.Refused) as refusal:
            self.client.submit(generate("another", idempotency_key="k"))
        self.assertEqual(3, refusal.exception.code)

    def test_a_long_result_comes_whole(self):
        job = self.client.submit(Job.ask("A cat.", ["1?", "2?", "3?", "4?"])).id
        worker = self.worker()
        assigned = worker.take_job()
        texts = [str(n) * LONG for n in range(4)]
        worker.finish(assigned, outputs=[{"text": text, "output_tokens": 1} for text in texts])
        self.assertNotEqual(0, self.peer_result(job)["next"], "it takes several pages")
        result = self.client.result(job)
        self.assertEqual(texts, [output.text for output in result.outputs])
        self.assertEqual(["1?", "2?", "3?", "4?"], [output.question for output in result.outputs])

    def peer_result(self, job):
        with self.peer() as peer:
            return peer.result(job)

    def test_jobs_are_listed_page_by_page_and_by_what_they_are(self):
        self.client.submit([generate(labels=["even" if n % 2 == 0 else "odd"]) for n in range(600)], client="a")
        self.client.submit(generate(), client="b")
        self.client.cancel([1, 2])
        self.assertEqual(list(range(601, 0, -1)), [job.id for job in self.client.jobs()])
        self.assertEqual(list(range(601, 301, -1)), [job.id for job in self.client.jobs(limit=300)])
        self.assertEqual([2, 1], [job.id for job in self.client.jobs(state="cancelled")])
        self.assertEqual([2], [job.id for job in self.client.jobs(state="cancelled", label="odd")])
        self.assertEqual([601], [job.id for job in self.client.jobs(client="b")])
        self.assertEqual([], list(self.client.jobs(limit=0)))

    def test_results_come_as_their_jobs_end(self):
        ids = self.client.submit([generate("1"), generate("2"), generate("fail")]).ids
        stream = iter(self.client.results_as_completed(ids, timeout=PATIENCE))
        worker = self.worker(capacity=3)
        assigned = {job["job"]: job for job in (worker.take_job() for _ in ids)}
        for id in (ids[1], ids[2], ids[0]):
            worker.finish(assigned[id], text=f"answer {id}")
            result = next(stream)
            self.assertEqual((id, f"answer {id}"), (result.job.id, result.text))
        self.assertEqual([], list(stream))

    def test_many_results_come_once_each(self):
        ids = self.client.submit(generate(str(n)) for n in range(1100)).ids
        self.serving(capacity=64)
        results = list(self.client.results_as_completed(ids, timeout=PATIENCE))
        self.assertEqual({id: str(id - 1) for id in ids}, {result.job.id: result.text for result in results})
        self.assertEqual(1100, len(results))

    def test_waiting_ends_with_the_time_and_the_jobs_go_on(self):
        done, open_ = self.client.submit([generate(), generate()]).ids
        worker = self.worker()
        worker.finish(worker.take_job())
        with self.assertRaises(TimeoutError) as late:
            self.client.wait([open_, done], timeout=0.2)
        self.assertIsInstance(late.exception, dslad.WaitTimeout)
        self.assertEqual([(open_, False), (done, True)], [(job.id, job.ended) for job in late.exception.jobs])
        with self.assertRaises(dslad.WaitTimeout):
            list(self.client.results_as_completed([open_], timeout=0))
        with self.assertRaises(dslad.WaitTimeout) as late:
            self.client.generate("x", timeout=0.1)
        self.assertEqual((3,), late.exception.submitted.ids)
        self.assertEqual([], self.client.wait([]))
        worker.finish(worker.take_job())
        self.assertEqual([done, open_, done], [job.id for job in self.client.wait([done, open_, done])])

    def test_waiting_goes_on_over_a_restart_of_the_daemon(self):
        for end in ("killed", "stopped"):
            with self.subTest(end=end):
                job = self.client.submit(generate()).id
                with ThreadPoolExecutor() as threads:
                    results = threads.submit(list, self.client.results_as_completed([job], timeout=PATIENCE))
                    infos = threads.submit(self.connect().wait, job)
                    until(lambda: self.waits() == 2, "both wait")
                    if end == "killed":
                        self.daemon.kill()
                    else:
                        self.daemon.signal(signal.SIGTERM)
                        self.daemon.wait()
                    self.daemon = self.start_daemon()
                    worker = self.worker()
                    worker.finish(worker.take_job(), text=end)
                    worker.close()
                self.assertEqual([end], [result.text for result in results.result()])
                self.assertEqual(["succeeded"], [info.state for info in infos.result()])

    def waits(self):
        with self.peer() as peer:
            return peer.request("stats")["counters"]["waits_open"]

    def test_a_submit_with_keys_is_asked_again_and_one_without_is_not(self):
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait()
        client = self.connect(timeout=0.2)
        with self.assertRaisesRegex(dslad.InvalidArgument, "idempotency_key"):
            client.submit([generate(), generate(idempotency_key="k")], retries=1)
        with self.assertRaises(dslad.NoAnswer) as lost:
            client.submit(generate())
        self.assertEqual((False, ()), (lost.exception.sent, lost.exception.submitted.ids))
        with ThreadPoolExecutor() as threads:
            submitted = threads.submit(client.submit, generate(idempotency_key="k"), retries=100)
            self.start_daemon()
        self.assertEqual(1, submitted.result().id)

    def test_an_answer_that_comes_too_late_is_dropped_and_the_client_goes_on(self):
        client = self.connect(timeout=0.3)
        self.patiently(client.ping)
        self.daemon.signal(signal.SIGSTOP)
        for _ in range(2):
            with self.assertRaisesRegex(dslad.NoAnswer, "no answer came") as silence:
                client.submit(generate(labels=["late"]))
            self.assertTrue(silence.exception.sent)
        self.daemon.signal(signal.SIGCONT)
        until(lambda: len(list(self.client.jobs())) == 2, "both were taken all the same")
        self.assertEqual(2, self.patiently(client.status).jobs["queued"])
        self.assertEqual(2, self.patiently(client.job, 2).id)

    def test_a_submit_whose_answer_is_lost_and_that_is_asked_again_makes_one_job(self):
        client = self.connect(timeout=0.3)
        self.patiently(client.ping)
        self.daemon.signal(signal.SIGSTOP)
        with ThreadPoolExecutor() as threads:
            submitted = threads.submit(client.submit, generate(idempotency_key="k"), retries=100)
            time.sleep(0.5)  # so that the first answer comes too late
            self.daemon.signal(signal.SIGCONT)
        self.assertEqual(submitted.result().ids, tuple(job.id for job in self.client.jobs()))

    @staticmethod
    def patiently(call, *arguments):
        """A client of little patience asks until it is answered."""
        def answer():
            try:
                return call(*arguments)
            except dslad.NoAnswer:
                return None

        return until(answer, "an answer")

    def test_where_nobody_listens_it_says_so_and_nothing_is_sent_later(self):
        self.daemon.signal(signal.SIGTERM)
        self.daemon.wait()
        client = self.connect(timeout=0.1)
        why = "nobody listens at .*(No such file|refused).*is dslad running"
        with self.assertRaisesRegex(dslad.NoAnswer, why) as gone:
            client.submit(generate())
        self.assertFalse(gone.exception.sent)
        with self.assertRaises(dslad.NoAnswer):
            client.wait(1, timeout=None)
        with self.assertRaises(dslad.WaitTimeout):
            client.wait(1, timeout=0.1)
        self.start_daemon()
        self.patiently(client.ping)
        self.assertEqual([], list(self.client.jobs()))


class BothControl:
    """Errors, and the operator's requests."""

    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon("--set", "queue.max_queued=5")
        self.client = self.connect()

    def test_the_daemons_errors_are_exceptions_by_their_code(self):
        for kind, call in (
            (dslad.InvalidArgument, lambda: self.client.submit(Job.generate("x", max_tokens=0))),
            (dslad.InvalidArgument, lambda: self.client.submit(Job.generate("x", temperature=float("nan")))),
            (dslad.InvalidArgument, lambda: self.client.submit(Job("sing", prompt="x"))),
            (dslad.NotFound, lambda: self.client.job(99)),
            (dslad.NotFound, lambda: self.client.result(99)),
            (dslad.NotFound, lambda: self.client.wait([99])),
            (dslad.NotFound, lambda: list(self.client.results_as_completed([99]))),
            (dslad.ResourceExhausted, lambda: self.client.submit([generate()] * 6)),
            (dslad.Unavailable, lambda: self.client.set_plan(1)),
        ):
            with self.subTest(kind=kind.__name__), self.assertRaises(kind) as error:
                call()
            self.assertEqual(kind.code, error.exception.code)
            self.assertTrue(error.exception.message)

    def test_codes_that_no_test_provokes_have_their_exceptions_too(self):
        for code, kind in enumerate((dslad.DsladError, dslad.InvalidArgument, dslad.NotFound, dslad.Refused,
                                     dslad.ResourceExhausted, dslad.Unavailable, dslad.Corrupt, dslad.Internal)):
            self.assertIs(kind, type(dslad.errors.of_code(code, "x")))
        later = dslad.errors.of_code(99, "x")
        self.assertEqual((dslad.DsladError, 99), (type(later), later.code))

    def test_the_queue_is_paused_drained_and_resumed(self):
        self.assertEqual("paused", self.client.pause())
        job = self.client.submit(generate()).id
        self.serving()
        self.assertEqual("draining", self.client.drain())
        self.assertEqual("draining", self.client.status().mode)
        with self.assertRaises(dslad.Unavailable):
            self.client.submit(generate())
        self.client.wait(job)
        self.assertEqual("open", self.client.resume())
        self.assertEqual("succeeded", self.client.generate("x").job.state)

    def test_jobs_run_again_and_are_forgotten(self):
        first, second = self.client.submit([generate(idempotency_key="k"), generate(labels=["gone"])]).ids
        self.assertEqual((first, second), self.client.cancel([first, second]).cancelled)
        again = self.client.requeue([first, 99])
        self.assertEqual(((first,), (99,), "queued"), (again.requeued, again.not_found, again.jobs[0].state))
        self.client.cancel(first)
        self.assertEqual((True,), self.client.submit(generate(idempotency_key="k"), retry_failed=True).duplicates)
        self.assertEqual("queued", self.client.job(first).state)
        self.assertEqual(0, self.client.purge(10**9))
        self.assertEqual(0, self.client.purge(0, state="failed"))
        self.assertEqual(0, self.client.purge(0, label="kept"))
        self.assertEqual(1, self.client.purge(0, state="cancelled", label="gone"))
        self.assertEqual([first], [job.id for job in self.client.jobs()])

    def test_plans_and_layers_are_shown_and_set(self):
        worker = self.worker()
        [layers] = until(self.client.layers, "the worker's layers are known")
        self.assertEqual(("fake", 4, "transformer"), (layers.model, len(layers.layers), layers.layers[0].state))
        [shown] = self.client.plan()
        self.assertEqual((worker.name, 0, 4, None), (shown.worker, shown.plan, shown.layers, shown.error))

        def confirm():
            change = worker.expect("set_plan").body
            self.assertEqual("a try", change["reason"])
            worker.plan = 1
            worker.send("plan_result", {
                "request": change["request"], "plan": 1, "generation": change["generation"],
                "changes": [{"layer": 0, "from": "transformer", "to": "active", "reason": "a try"}],
                "layer_info": [{"layer": n, "order": n, "state": worker.layer_state(n)} for n in range(4)]})

        self.in_a_thread(confirm)
        [changed] = self.client.set_plan(1, allow_undistilled=True, reason="a try")
        self.assertEqual(1, changed.plan)
        self.assertEqual((dslad.LayerChange(0, "transformer", "active", "a try"),), changed.changes)

    def test_the_policy_is_shown_set_and_explained(self):
        self.assertNotEqual(0.25, self.client.policy().min_quality)
        policy = self.client.set_policy("static", static_plan=0, min_quality=0.25)
        self.assertEqual(("static", 0, 0.25), (policy.policy, policy.static_plan, policy.min_quality))
        self.assertEqual("threshold", self.client.set_policy("threshold").policy)
        self.assertEqual(0.25, self.client.policy().min_quality)
        self.assertEqual("threshold", self.client.status().policy)
        verdict = self.client.explain(self.client.submit(generate()).id)
        self.assertEqual((1, "queued", None), (verdict.id, verdict.state, verdict.plan))
        self.assertTrue(verdict.why)
        self.assertIsInstance(self.client.policy_history(), tuple)

    def test_the_daemon_tells_of_itself(self):
        worker = self.worker()
        self.client.submit(generate())
        status = self.client.status()
        self.assertEqual((self.client.ping(), self.events_url), (status.version, status.events_url))
        self.assertEqual((1, [worker.name]), (sum(status.jobs.values()), [entry.name for entry in status.workers]))
        self.assertEqual(1, self.client.stats().counters["jobs_submitted"])

    def test_events_are_told_to_who_asks_for_them(self):
        with self.client.events("job.state", timeout=3) as events:
            def heard():
                """Events are missed until the subscription has arrived."""
                job = self.client.submit(generate()).id
                try:
                    return next(job for event in events if (event.job, event.state) == (job, "queued"))
                except dslad.NoAnswer:
                    self.client.cancel(job)

            job = until(heard, "the subscription arrives")
            worker = self.worker()
            worker.finish(worker.take_job())
            running, ended = next(events), next(events)
        self.assertEqual((job, "running", worker.name), (running.job, running.state, running.worker))
        self.assertEqual((job, "succeeded", running.sequence + 1), (ended.job, ended.state, ended.sequence))

    def test_no_event_in_time_is_no_answer_and_closing_ends_the_iterator(self):
        with self.client.events("worker.", timeout=0.1) as events:
            for _ in range(2):
                self.assertRaises(dslad.NoAnswer, next, events)
        self.assertEqual([], list(events))


class PlainClient(Both, ClientTest):
    kind = Plain


class AsynchronousClient(Both, ClientTest):
    kind = Asynchronous


class PlainControl(BothControl, ClientTest):
    kind = Plain


class AsynchronousControl(BothControl, ClientTest):
    kind = Asynchronous


if __name__ == "__main__":
    unittest.main()
