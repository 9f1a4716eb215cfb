"""Batch files: rows in, lines out, whatever is wrong with rows and whatever dies meanwhile.

DSLAD_KILL_ROUNDS: how many kills (20); DSLAD_KILL_SEED: which moments. DSLAD_BATCH_ROWS and DSLAD_BATCH_BYTES: of how many
rows (5,000; 1,000 with sanitizers) with how much text (100) it is told what they cost in time and memory."""

import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

import wire
from fake_worker import FakeWorker
from harness import BIN, SANITIZED, SystemTest, until

ROUNDS = int(os.environ.get("DSLAD_KILL_ROUNDS", "20"))
SEED = int(os.environ.get("DSLAD_KILL_SEED", "20250611"))
ROWS = int(os.environ.get("DSLAD_BATCH_ROWS", "1000" if SANITIZED else "5000"))
BYTES = int(os.environ.get("DSLAD_BATCH_BYTES", "100"))
FAILED, USAGE, REFUSED = 1, 2, 4  # exit statuses


class Answering(threading.Thread):
    """A worker that answers at once, as often as the daemon dies: "FAIL" with an error, anything else by its length."""

    def __init__(self, url, pause=0.0):
        super().__init__(name="answering", daemon=True)
        self.url, self.pause, self.stop, self.answers = url, pause, threading.Event(), 0

    def run(self):
        with FakeWorker(self.url, capacity=32) as worker:
            worker.introduce()
            while not self.stop.is_set():
                try:
                    message = worker.receive(0.2)
                    if message.kind == "who_are_you":
                        # Whatever comes before the welcome is of before: to answer it would make further questions.
                        worker.introduce()
                        worker.expect("welcome", timeout=2.0)
                    elif message.kind == "assign":
                        self.answer(worker, message.body)
                except wire.Silence:
                    worker.heartbeat()

    def answer(self, worker, job):
        time.sleep(self.pause)
        self.answers += 1
        if "FAIL" in job["prompt"]:
            worker.send_error(job, wire.INVALID_ARGUMENT, "no such luck")
        else:
            worker.send_result(job, text=f"{len(job['prompt'])} letters")


def native(name, prompt="Once upon a time", **others):
    return {"custom_id": name, "task": "generate", "prompt": prompt, **others}


def completion(name, prompt="Once", **others):
    return {"custom_id": name, "method": "POST", "url": "/v1/completions",
            "body": {"model": "gpt", "prompt": prompt, **others}}


def chat(name, *texts, **others):
    messages = [{"role": "user", "content": text} for text in texts]
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": "gpt", "messages": messages, **others}}


class BatchTest(SystemTest):
    def setUp(self):
        super().setUp()
        self.daemon = self.start_daemon()
        self.out, self.err = self.folder / "out.jsonl", self.folder / "err.jsonl"

    def answer(self, pause=0.0):
        worker = Answering(self.workers_url, pause)
        worker.start()
        self.addCleanup(worker.join)
        self.addCleanup(worker.stop.set)
        return worker

    def file(self, *rows):
        """A row that is a string is a line as it stands."""
        path = self.folder / "rows.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    def submit(self, *arguments, status=0):
        """What `submit batch --json` says first."""
        done = self.ctl("submit", "batch", *arguments, "--json")
        self.assertEqual(status, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[0])

    def batch(self, verb, name, *arguments, status=0):
        done = self.ctl("batch", verb, name, *arguments, "--json")
        self.assertEqual(status, done.returncode, done.stdout + done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    @staticmethod
    def lines(path):
        """By custom_id; each once."""
        found = [json.loads(line) for line in path.read_text().splitlines()]
        by_id = {line["custom_id"]: line for line in found}
        assert len(found) == len(by_id), collections.Counter(line["custom_id"] for line in found).most_common(3)
        return by_id

    def jobs(self):
        return self.sql("SELECT count(*) FROM job_status")[0][0]


class Forms(BatchTest):
    def test_each_row_is_answered_in_its_own_form(self):
        self.answer()
        rows = self.file(native("n", seed=1), completion("c", "Once", max_tokens=5), chat("h", "Be brief.", "Who?"))
        self.submit(rows, "--output", self.out, "-q")
        lines = self.lines(self.out)
        self.assertEqual({"n", "c", "h"}, set(lines))
        self.assertEqual(("succeeded", "16 letters"), (lines["n"]["state"], lines["n"]["outputs"][0]["text"]))
        body = lines["c"]["response"]["body"]
        self.assertEqual(("text_completion", "4 letters"), (body["object"], body["choices"][0]["text"]))
        body = lines["h"]["response"]["body"]
        self.assertEqual("chat.completion", body["object"])
        self.assertEqual({"role": "assistant", "content": "15 letters"}, body["choices"][0]["message"])
        self.assertEqual({"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}, body["usage"])
        self.assertEqual((200, None), (lines["h"]["response"]["status_code"], lines["h"]["error"]))

    def test_options_are_for_rows_that_say_nothing_themselves(self):
        self.submit(self.file(native("a"), native("b", max_tokens=3, priority=9)), "--max-tokens", 7, "--priority", 4,
                    "--label", "nightly", "--client", "ada")
        jobs = {row["custom_id"]: row for row in self.sql("SELECT * FROM job_status")}
        self.assertEqual((7, 4, "ada"), (jobs["a"]["max_tokens"], jobs["a"]["priority"], jobs["a"]["client"]))
        self.assertEqual((3, 9), (jobs["b"]["max_tokens"], jobs["b"]["priority"]))
        self.assertIn("nightly", jobs["a"]["labels"])

    def test_results_without_a_file_print_what_has_ended(self):
        name = self.submit(self.file(native("a"), chat("b", "FAIL")))["id"]
        self.assertEqual([], self.batch("results", name))
        self.answer()
        until(lambda: self.batch("status", name)[0]["status"] != "in_progress", "the batch has ended")
        lines = self.batch("results", name, status=FAILED)
        self.assertEqual(["a", "b"], [line["custom_id"] for line in lines])
        self.assertEqual("no such luck", lines[1]["error"]["message"])


class BadRows(BatchTest):
    ROWS = (native("a"), "{", native("b", promt="x"), native("a"), completion("c", stream=True), "", native("d"))

    def test_they_are_named_by_their_lines_and_the_others_run(self):
        self.answer()
        rows = self.file(*self.ROWS)
        done = self.ctl("submit", "batch", rows, "--output", self.out, "--errors", self.err)
        self.assertEqual(FAILED, done.returncode, done.stderr)
        for text in ("line 2: it is no JSON", "line 3: unknown key 'promt'", "line 4: custom_id 'a' is that of line 1",
                     "line 5: body: stream is not supported"):
            self.assertIn(text, done.stderr)
        self.assertEqual({"a", "d"}, set(self.lines(self.out)))
        errors = [json.loads(line) for line in self.err.read_text().splitlines()]
        self.assertEqual([(2, None), (3, "b"), (4, "a"), (5, "c")],
                         [(line["error"]["line"], line["custom_id"]) for line in errors])
        before = self.err.read_text()
        self.ctl("submit", "batch", rows, "--output", self.out, "--errors", self.err)
        self.assertEqual(before, self.err.read_text())

    def test_strict_and_check_submit_nothing(self):
        rows = self.file(*self.ROWS)
        done = self.ctl("submit", "batch", rows, "--strict")
        self.assertEqual(USAGE, done.returncode, done.stderr)
        self.assertIn("4 of 6 rows", done.stderr)
        done = self.ctl("submit", "batch", rows, "--check", url="ipc:///nowhere")
        self.assertEqual(USAGE, done.returncode, done.stderr)
        self.assertEqual(0, self.jobs())
        report = json.loads(self.ctl_ok("submit", "batch", self.file(native("a")), "--check", "--json"))
        self.assertEqual((1, 0), (report["rows"], report["bad"]))

    def test_many_are_counted(self):
        done = self.ctl("submit", "batch", self.file(*["{"] * 25, native("a")))
        self.assertEqual(11, done.stderr.count("\n"), done.stderr)
        self.assertIn("15 more rows are bad", done.stderr)

    def test_wrong_files_are_refused_with_the_remedy(self):
        for arguments, text in ((["-"], "save it as a file"), (["/dev/null"], "no regular file"),
                                ([self.file("")], "has no rows"), ([self.folder / "nothing"], "No such file")):
            done = self.ctl("submit", "batch", *arguments, stdin="")
            self.assertEqual(USAGE, done.returncode, done.stderr)
            self.assertIn(text, done.stderr)
        done = self.ctl("submit", "batch", self.file("{", "[]"))
        self.assertEqual(USAGE, done.returncode, done.stderr)

    def test_a_job_that_the_daemon_refuses_is_one_bad_row(self):
        self.ctl_ok("submit", "generate", "--prompt", "x", "--idempotency-key", "k")
        rows = [native(str(n)) for n in range(20)]
        name = self.submit(self.file(*rows), "--check")["id"]
        with self.peer() as client:
            client.submit(wire.generate("another text", idempotency_key=f"{name}:7"))
        report = self.submit(self.file(*rows), status=FAILED)
        self.assertEqual((19, 1, 8), (report["submitted"], report["bad"], report["errors"][0]["line"]))
        self.assertIn("whose prompt is another", report["errors"][0]["message"])


class Repeats(BatchTest):
    def test_a_file_that_is_submitted_again_is_the_same_batch(self):
        rows = self.file(*[native(str(n)) for n in range(2500)])
        first = self.submit(rows)
        again = self.submit(rows)
        self.assertEqual((2500, 0), (first["submitted"], first["duplicates"]))
        self.assertEqual((first["id"], 2500), (again["id"], again["duplicates"]))
        self.assertEqual(2500, self.jobs())
        self.answer()
        self.submit(rows, "--output", self.out, "-q")
        before = self.out.read_text()
        self.assertEqual(2500, len(self.lines(self.out)))
        self.batch("results", first["id"], "--output", self.out)
        self.assertEqual(before, self.out.read_text())
        self.assertNotEqual(first["id"], self.submit(rows, "--max-tokens", 3)["id"])

    def test_what_failed_runs_again_where_that_is_asked_for(self):
        self.answer()
        rows = self.file(native("a"), native("b", "FAIL"))
        for _ in range(2):
            self.submit(rows, "--output", self.out, "-q", status=FAILED)
            self.assertEqual("failed", self.lines(self.out)["b"]["state"])
        self.submit(rows, "--output", self.out, "--retry-failed", "-q", status=FAILED)
        self.assertEqual({"a", "b"}, set(self.lines(self.out)))
        self.assertEqual(2, self.sql("SELECT attempt FROM job_status WHERE custom_id = 'b'")[0][0])

    def test_two_do_not_write_one_file_and_results_of_another_batch_stay(self):
        name = self.submit(self.file(native("a")))["id"]
        with subprocess.Popen([BIN / "dslactl", "--connect", self.jobs_url, "batch", "results", name, "--output", self.out],
                              stderr=subprocess.DEVNULL) as follower:
            until(self.out.exists, "the follower has begun")
            done = self.ctl("batch", "results", name, "--output", self.out)
            self.assertEqual(USAGE, done.returncode, done.stderr)
            self.assertIn("being written by another dslactl", done.stderr)
            follower.terminate()
            self.assertEqual(130, follower.wait(60))
        self.answer()
        self.batch("results", name, "--output", self.out)
        done = self.ctl("submit", "batch", self.file(native("a", "other")), "--output", self.out)
        self.assertEqual(USAGE, done.returncode, done.stderr)
        self.assertIn(f"it is of {name}", done.stderr)


class StateOfABatch(BatchTest):
    def test_counts_and_states_are_those_of_openai(self):
        name = self.submit(self.file(native("a"), native("b", "FAIL")))["id"]
        [batch] = self.batch("status", name)
        self.assertEqual(("batch", "in_progress"), (batch["object"], batch["status"]))
        self.assertEqual({"total": 2, "completed": 0, "failed": 0}, batch["request_counts"])
        self.assertEqual(2, batch["jobs"]["queued"])
        self.answer()
        until(lambda: self.batch("status", name)[0]["status"] == "completed", "the batch has ended")
        [batch] = self.batch("status", name)
        self.assertEqual({"total": 2, "completed": 1, "failed": 1}, batch["request_counts"])
        self.assertGreaterEqual(batch["completed_at"], batch["created_at"])
        self.assertIn("2 of 2 ended", self.ctl_ok("batch", "status", name))

    def test_cancel_ends_what_is_open(self):
        name = self.submit(self.file(*[native(str(n)) for n in range(2500)]))["id"]
        [other] = self.ctl_ok("submit", "generate", "--prompt", "x").splitlines()
        worker = FakeWorker(self.workers_url, capacity=2)
        self.addCleanup(worker.close)
        worker.hello()
        worker.take_job()
        self.assertIn("2,500 jobs cancelled", self.ctl_ok("batch", "cancel", name))
        [batch] = self.batch("status", name)
        self.assertEqual(("cancelled", 2500), (batch["status"], batch["jobs"]["cancelled"]))
        self.assertIn("0 jobs cancelled", self.ctl_ok("batch", "cancel", name))
        self.assertNotEqual("cancelled", self.sql("SELECT state FROM job_status WHERE id = ?", int(other.split()[1]))[0][0])
        self.batch("results", name, "--output", self.out, status=FAILED)
        self.assertEqual({"cancelled"}, {line["state"] for line in self.lines(self.out).values()})

    def test_a_batch_that_is_not_known_is_refused(self):
        for verb in ("status", "results", "cancel"):
            done = self.ctl("batch", verb, "batch_" + "0" * 24)
            self.assertEqual(REFUSED, done.returncode, done.stderr)
            self.assertIn("never submitted here", done.stderr)
            self.assertEqual(USAGE, self.ctl("batch", verb, "17").returncode)


class SmallQueue(BatchTest):
    daemon_options = ("--set", "queue.max_queued=5")

    def test_a_full_queue_is_waited_for(self):
        self.answer()
        done = self.ctl("submit", "batch", self.file(*[native(str(n)) for n in range(60)]), "--output", self.out, "-q")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(60, len(self.lines(self.out)))


class Many(BatchTest):
    def test_thousands_of_lines(self):
        rows = self.folder / "rows.jsonl"
        with rows.open("w") as file:
            for n in range(ROWS):
                file.write(json.dumps(chat(f"row-{n}", f"text {n} ".ljust(BYTES, "x"))) + "\n")
        self.measure("check", "--check")
        self.measure("submit")
        self.measure("submit again")
        self.answer()
        self.measure("run and write", "--output", self.out, "-q")
        self.assertEqual({f"row-{n}" for n in range(ROWS)}, set(self.lines(self.out)))

    def measure(self, what, *options):
        """Each command by itself, with its own peak of memory and the daemon's so far."""
        begin = time.monotonic()
        command = [BIN / "dslactl", "--connect", self.jobs_url, "submit", "batch", self.folder / "rows.jsonl", *options]
        child = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(0, child.returncode, what)
        about = pathlib.Path(f"/proc/{self.daemon.child.pid}/status").read_text()
        peak = next(line for line in about.splitlines() if line.startswith("VmHWM"))
        print(f"{ROWS} rows, {what}: {time.monotonic() - begin:.1f} s; peak of dslactl {usage.ru_maxrss >> 10} MiB, "
              f"of dslad {int(peak.split()[1]) >> 10} MiB", file=sys.stderr)


class Kills(BatchTest):
    daemon_options = ("--set", "workers.lease_ms=2000", "--set", "workers.heartbeat_ms=400")

    def start_follower(self):
        command = [BIN / "dslactl", "--connect", self.jobs_url, "submit", "batch", self.rows, "--output", self.out,
                   "--errors", self.err]
        return subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def test_no_line_is_lost_or_doubled(self):
        count = 60 * ROUNDS
        self.rows = self.file(*[(chat if n % 2 else completion)(f"row-{n}", "FAIL" if n % 7 == 0 else f"text {n}")
                                for n in range(count)], "{")
        dice = random.Random(SEED)
        worker = self.answer(pause=0.005)
        follower = self.start_follower()
        kills, answers = collections.Counter(), 0
        for _ in range(ROUNDS):
            time.sleep(dice.uniform(0.0, 0.6))
            if follower.poll() is not None:  # it found no daemon when it began
                follower = self.start_follower()
            fate = dice.random()
            if fate < 0.4:
                kills["dslactl"] += follower.poll() is None
                follower.kill()
                follower.wait()
                follower = self.start_follower()
            elif fate < 0.8:
                kills["dslad"] += 1
                self.daemon.kill()
                self.daemon = self.start_daemon(ready=False)
            else:  # all that a daemon sees of a worker that was killed: silence
                kills["worker"] += 1
                worker.stop.set()
                worker.join()
                answers += worker.answers
                worker = self.answer(pause=0.005)
        self.await_daemon(self.daemon)
        follower.kill()
        follower.wait()
        done = self.ctl("submit", "batch", self.rows, "--output", self.out, "--errors", self.err, "-q")
        self.assertEqual(FAILED, done.returncode, done.stderr)
        results, errors = self.lines(self.out), self.lines(self.err)
        print(f"kills {dict(kills)}; {answers + worker.answers} answers to {count} rows", file=sys.stderr)
        self.assertEqual({f"row-{n}" for n in range(count) if n % 7}, set(results))
        self.assertEqual({None, *(f"row-{n}" for n in range(0, count, 7))}, set(errors))
        self.assertEqual(count, self.jobs())
        for n in range(1, count, 7):
            choice = results[f"row-{n}"]["response"]["body"]["choices"][0]
            text = choice["message"]["content"] if n % 2 else choice["text"]
            self.assertEqual(f"{len(f'text {n}')} letters", text)


if __name__ == "__main__":
    unittest.main()
