"""Load for tests that disturb the real programs: clients that keep the queue filled while policies and plans change. What the
daemon has acknowledged must end exactly once, on a plan that there is, whatever happens when.

DSLAD_KILL_SEED: which moments."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

import harness
import wire
from harness import SystemTest, leases_of, until

SEED = int(os.environ.get("DSLAD_KILL_SEED", "20250611"))
SUBMITTERS = 16
BATCH = 8
BACKLOG = 128  # queued jobs above which submitters pause
LENGTHS = (8, 60, 400)  # tokens: short jobs for many commits, long ones for kills to hit
MANY_ATTEMPTS = 1000
LAYERS = 3  # of the model's chain
TERMS = {2: {"max_plan": 0}, 5: {"min_quality": 0.9}, 6: {"max_plan": 1}}  # of some jobs of a batch, by their number
LEASE_MS = 1000


class Submitter(threading.Thread):
    """Keeps the queue filled and remembers those that were acknowledged. A request without an answer is sent
    again with the same keys, as a careful client does it, until it is acknowledged."""

    def __init__(self, url, number):
        super().__init__(name=f"submitter-{number}", daemon=True)
        self.url = url
        self.number = number
        self.acknowledged = {}  # id -> key
        self.stop = threading.Event()
        self.rest = threading.Event()  # submits nothing new while it is set
        self.failure = None

    def run(self):
        try:
            batch = 0
            while not self.stop.is_set():
                if self.rest.is_set():
                    time.sleep(0.05)
                    continue
                self.finish_batch(batch)
                batch += 1
        except Exception as failure:  # noqa: BLE001: the test reports it
            self.failure = failure

    def finish_batch(self, batch):
        jobs = [self.job(f"{self.number}.{batch}.{n}", n) for n in range(BATCH)]
        ids = self.persist(lambda client: client.submit(*jobs, timeout=5.0))
        for job, request in zip(ids, jobs):
            assert job not in self.acknowledged, f"job {job} was acknowledged for two keys"
            self.acknowledged[job] = request["idempotency_key"]
        while not self.stop.is_set() and self.persist(queued) > BACKLOG:
            time.sleep(0.05)

    def job(self, key, n):
        attempts = 1 if n == 0 else MANY_ATTEMPTS
        length = LENGTHS[n % len(LENGTHS)]
        return wire.generate(max_tokens=length, custom_id=str(length), idempotency_key=key, max_attempts=attempts,
                             upgrade=n % 4 == 1, **TERMS.get(n, {}))

    def persist(self, call):
        while True:
            with wire.Peer(self.url) as client:
                try:
                    return call(client)
                except wire.Silence:
                    continue
                except wire.Refusal as refusal:
                    if refusal.code != wire.UNAVAILABLE:
                        raise


class Changes(threading.Thread):
    """Sets another policy or another plan, over and over; a daemon or a worker that is away is passed over."""

    def __init__(self, url):
        super().__init__(name="changes", daemon=True)
        self.url, self.stop, self.failure, self.made = url, threading.Event(), None, 0

    def run(self):
        dice = random.Random(SEED)
        try:
            while not self.stop.wait(dice.uniform(0.05, 0.3)):
                with wire.Peer(self.url) as client, contextlib.suppress(wire.Silence, wire.Refusal):
                    plan = dice.randrange(LAYERS + 1)
                    if dice.random() < 0.3:
                        client.request("plan_set", {"plan": plan, "reason": "a test"}, timeout=2.0)
                    else:
                        policy = dice.choice(["static", "deadline", "threshold"])
                        client.request("policy_set", {"policy": policy, "static_plan": plan, "min_quality": 0.5,
                                                      "target_drain_ms": dice.choice([100, 60_000])}, timeout=2.0)
                    self.made += 1
        except Exception as failure:  # noqa: BLE001: the test reports it
            self.failure = failure


def queued(client):
    return client.request("status", timeout=2.0)["jobs"]["queued"]


class LoadTest(SystemTest):
    """A daemon, real workers, and clients that keep them busy while a test disturbs them; then all that must hold."""

    # The chain is of no use: without the last setting its plans would soon be given to no job.
    daemon_options = (*leases_of(LEASE_MS), "--set", "policy.canary_share=0", "--set", "policy.min_agreement=0")

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        self.make_model()
        self.daemon = self.start_daemon()

    def make_model(self):
        shutil.copytree(harness.MODEL, self.model)
        subprocess.run([harness.BIN / "make_chain", self.model, str(LAYERS)], check=True)

    def check_under_load(self, disturb):
        """Calls `disturb` while there is load. What was acknowledged by its end must end exactly once."""
        changes = Changes(self.jobs_url)
        changes.start()
        submitters = self.submitters = [Submitter(self.jobs_url, number) for number in range(SUBMITTERS)]
        for submitter in submitters:
            submitter.start()
        disturb(random.Random(SEED))
        for thread in (*submitters, changes):
            thread.stop.set()
            thread.join()
            self.assertIsNone(thread.failure)
        self.assertGreater(changes.made, 0)
        acknowledged = {job: key for submitter in submitters for job, key in submitter.acknowledged.items()}
        self.assertGreaterEqual(len(acknowledged), SUBMITTERS * BATCH)
        self.await_all(acknowledged)
        self.check_jobs(acknowledged)
        self.check_attempts()
        self.check_terms()
        self.check_results()
        self.check_editions()
        self.check_reruns()
        self.check_plans()
        self.assertEqual("ok", self.sql("PRAGMA integrity_check")[0][0])

    def report(self, what):
        """What came of the attempts, by outcome; prints it."""
        counts = {row[0]: row[1] for row in self.sql("SELECT outcome, count(*) FROM job_attempts GROUP BY outcome")}
        jobs, reruns = (self.sql(f"SELECT count(*) FROM {table}")[0][0] for table in ("job_status", "job_reruns"))
        print(f"{what} with seed {SEED}; {jobs} jobs; ends of attempts: {counts}; plans {sorted(self.plans)}; {reruns} reruns",
              file=sys.stderr)
        return counts

    def await_all(self, acknowledged):
        def ended():
            jobs = self.status()["jobs"]
            return jobs["queued"] == 0 and jobs["running"] == 0

        until(ended, f"all of {len(acknowledged)} jobs have ended", patience=600)

    def check_jobs(self, acknowledged):
        """One row a key; nothing lost, nothing twice, and a failure only where attempts ran out."""
        rows = {row["id"]: row for row in self.sql("SELECT * FROM job_status")}
        self.assertEqual(acknowledged, {job: row["idempotency_key"] for job, row in rows.items()})
        for job, row in rows.items():
            if row["state"] == "failed":
                self.assertEqual(1, row["max_attempts"], dict(row))
            else:
                self.assertEqual("succeeded", row["state"], job)
        for job in list(rows)[:: max(1, len(rows) // 20)]:
            with self.peer() as client:
                self.assertEqual(rows[job]["state"], client.job(job)["state"])

    def check_attempts(self):
        """Attempts count up from 1 to the job's, each has ended, and a success is the last one and the only one."""
        jobs = {row["id"]: row for row in self.sql("SELECT * FROM job_status")}
        outcomes = {job: [] for job in jobs}
        for row in self.sql("SELECT * FROM job_attempts ORDER BY id, attempt"):
            outcomes[row["id"]].append(row["outcome"])
            self.assertEqual(len(outcomes[row["id"]]), row["attempt"])
        for job, row in jobs.items():
            self.assertEqual(row["attempt"], len(outcomes[job]))
            self.assertNotIn(None, outcomes[job])
            self.assertEqual(row["state"] == "succeeded", outcomes[job][-1] == "succeeded")
            self.assertNotIn("succeeded", outcomes[job][:-1])

    def check_terms(self):
        """Whatever plan was in force or on its way: no answer is from one that its job does not allow."""
        rows = self.sql("SELECT j.id, j.max_plan, j.min_quality, m.plan, m.quality FROM jobs j JOIN job_metrics m ON m.id = j.id "
                        "WHERE j.max_plan IS NOT NULL OR j.min_quality IS NOT NULL")
        self.assertGreater(len(rows), 0)
        for row in rows:
            self.assertLessEqual(row["plan"], LAYERS if row["max_plan"] is None else row["max_plan"], dict(row))
            if row["plan"] > 0:
                self.assertGreaterEqual(row["quality"] or 0, row["min_quality"] or 0, dict(row))

    def check_results(self):
        """A succeeded job has one output and others have none; those of one length were asked the same and, on one plan,
        answered the same, whatever happened on the way."""
        outputs = self.sql("SELECT r.id, r.text, s.custom_id, m.plan FROM job_results r JOIN job_status s ON s.id = r.id "
                           "JOIN job_metrics m ON m.id = r.id")
        succeeded = [row["id"] for row in self.sql("SELECT id FROM job_status WHERE state = 'succeeded'")]
        self.assertEqual(sorted(succeeded), sorted(row["id"] for row in outputs))
        answers = {(row["custom_id"], row["plan"], row["text"]) for row in outputs}
        kinds = {(row["custom_id"], row["plan"]) for row in outputs}
        self.assertEqual(len(kinds), len(answers), answers)
        self.assertLessEqual({plan for _, plan in kinds}, set(range(LAYERS + 1)))
        self.plans = {plan for _, plan in kinds}

    def editions(self):
        """Of the chains under which jobs ran on plans above 0."""
        return {row[0] for row in self.sql("SELECT DISTINCT m.edition FROM job_metrics m JOIN job_status s ON s.id = m.id "
                                           "WHERE s.state = 'succeeded' AND m.plan > 0")}

    def check_editions(self):
        """No job ran on plans of a chain that no worker had."""
        self.assertLessEqual(self.editions(), {row[0] for row in self.sql("SELECT edition FROM worker_status")} - {None})

    def check_reruns(self):
        """Each that was asked for and is of use is done once, on plan 0, with plan 0's answer."""
        wanted = [row[0] for row in self.sql(
            "SELECT s.id FROM job_status s JOIN job_metrics m ON m.id = s.id "
            "WHERE s.upgrade AND s.state = 'succeeded' AND m.plan > 0 ORDER BY s.id")]
        self.set_policy(idle_after_ms=200)

        def done():
            return [row[0] for row in self.sql("SELECT id FROM job_reruns WHERE state = 'succeeded' ORDER BY id")] == wanted

        until(done, f"{len(wanted)} reruns", patience=600)
        self.assertEqual(len(wanted), self.sql("SELECT count(*) FROM job_reruns")[0][0])
        self.assertEqual({0} if wanted else set(), {row[0] for row in self.sql("SELECT plan FROM job_reruns")})

    def check_plans(self):
        """What the database says of the chain is what the chain says."""
        chain = json.loads((self.model / "dsla/chain.json").read_text())
        self.set_policy(policy="static", static_plan=LAYERS, min_quality=0.5)

        def agrees():
            rows = {row["layer"]: row for row in self.sql("SELECT * FROM layer_status")}
            converted = {layer for layer, row in rows.items() if row["state"] == "active"}
            order = [layer for layer, _ in sorted(rows.items(), key=lambda item: item[1]["conversion_order"])]
            distilled = {layer for layer, row in rows.items() if row["distilled"]}
            return (order == chain["order"]["layers"] and converted == set(chain["order"]["layers"][:LAYERS]) and
                    distilled == {layer["layer"] for layer in chain["layers"]})

        until(agrees, "layer_status and chain.json agree")

    def set_policy(self, **settings):
        with self.peer() as peer:
            peer.request("policy_set", settings)
