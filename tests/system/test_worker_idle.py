"""A real worker that distils in idle time, and a daemon that does what the test says: what runs when, with what rights,
and what remains of it when something is killed.

Where the work itself does not matter a script takes dslad-model's place, beside a link to the worker."""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time
import unittest

import harness
import wire
from distil_case import STORY
from fake_daemon import Daemon
from harness import until

# A window as long as the context: a converted layer is as good as the teacher's from the start.
SHORT = "--order index --variant dslad,window=512 --sequence 64 --batch-tokens 128 --held-out-tokens 100 "
QUICK = SHORT + "--layerwise-steps 4 --chained-steps 2"
LONG = SHORT + "--layerwise-steps 100000 --chained-steps 10"
BAD = QUICK.replace("dslad,window=512", "paper")
NO_LIMIT = 1 << 28  # MiB: the address sanitizer takes more than any memory has
TOOL = harness.BIN / "dslad-model"

# Says once that it runs, then works on.
SCRIPT = """
import os, pathlib, sys, time
with open(pathlib.Path(__file__).parent / "runs", "a") as runs:
    print(os.getpid(), *sys.argv[1:], file=runs)
{body}
"""


def stat_of(pid):
    """Fields of /proc/PID/stat behind the name: [0] is the state."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def state_of(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return stat_of(pid)[0]
    return None  # gone


def status_of(pid, key):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(key + ":"))


class IdleCase(harness.SystemTest):
    def setUp(self):
        self.addCleanup(lambda: self.daemon.socket.close())  # after the worker's end: it waits for what was answered
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(harness.MODEL, self.model)
        self.chain = self.model / "dsla"
        self.text = self.folder / "story.txt"
        self.text.write_text(STORY * 20)
        self.exam = self.folder / "exam.jsonl"
        self.write_exam("She had a big red ball and played with it all day.")
        self.daemon = Daemon(self.workers_url)
        self.jobs = 0

    def write_exam(self, summary):
        item = {"id": "1", "task": "summarize", "document": "Lily had a red ball.", "items": [{"summaries": [summary]}]}
        self.exam.write_text(json.dumps(item) + "\n")

    def options(self, distil=QUICK):
        return ("--distil-text", self.text, "--distil-eval", self.exam, f"--distil-options= {distil}", "--idle-memory-mib", NO_LIMIT)

    @property
    def recent(self):
        return self.chain / "idle/recent"

    def recent_options(self, mib=1, distil=QUICK):
        return ("--distil-recent", mib, *self.options(distil)[2:])

    @staticmethod
    def document(index):
        """One of 8 KiB, like no other."""
        return (f"CLASSIFIED {index}. " + STORY * 60)[:8 << 10]

    def answer(self, count, first=0):
        """Runs jobs on so many documents."""
        for index in range(first, first + count):
            self.assign(task="summarize", prompt="", document=self.document(index), overflow="truncate")
            self.assertNotIn("error", self.result())

    def serve(self, *options, allowed=True):
        self.worker = self.start_worker(*options, model=self.model, ready=False)
        while True:  # one that drains says hello, too
            hello = self.daemon.receive("hello").body
            if f":{self.worker.child.pid}:" in hello["name"]:
                break
        # A long lease: the test is silent while it waits for what runs below everything.
        self.daemon.send("welcome", lease_ms=600000, heartbeat_ms=20)
        if allowed:
            self.allow()
        return hello

    def allow(self, allowed=True):
        self.daemon.send("idle_work", allowed=allowed)

    def assign(self, tokens=8, **body):
        self.jobs += 1
        options = {"max_tokens": tokens, "temperature": 0.0, "top_p": 1.0, "seed": 0}
        job = {"task": "generate", "prompt": "Once upon a time", "questions": [], "document": "", "options": options, **body}
        self.daemon.send("assign", job=self.jobs, attempt=1, **job)

    def result(self):
        return self.acknowledge(self.daemon.receive("result").body)

    def acknowledge(self, body):
        self.daemon.send("result_ack", job=body["job"], attempt=body["attempt"], accepted=True)
        return body

    def children(self, verb=""):
        """Processes that the worker has started and that are not gone."""
        listed = pathlib.Path(f"/proc/{self.worker.child.pid}/task").glob("*/children")
        pids = []
        for file in listed:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pids += file.read_text().split()
        return [int(pid) for pid in pids if state_of(pid) not in (None, "Z") and verb in self.command_of(pid)]

    @staticmethod
    def command_of(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return []

    def child(self, verb="distil"):
        return until(lambda: self.children(verb), f"dslad-model {verb} runs")[0]

    def await_state(self, pid, *states):
        until(lambda: state_of(pid) in states, f"process {pid} is in a state of {states}, not {state_of(pid)}")

    def await_stop_by_jobs(self, pid):
        """Gives jobs, one after the other, until the process is stopped: where processors are scarce one of SCHED_IDLE hears of a
        signal long after it was sent, and a job may end before."""
        answered = True

        def stopped():
            nonlocal answered
            if answered:
                self.assign(tokens=200)
            message = self.daemon.next(seconds=0.01)
            answered = message is not None and message.kind == "result"
            if answered:
                self.acknowledge(message.body)
            return state_of(pid) == "T"

        until(stopped, f"process {pid} is stopped while jobs run")
        if not answered:
            self.result()

    def await_log(self, text):
        until(lambda: text in self.worker.text(), f"the worker logs: {text}")


class WithAScript(IdleCase):
    """Processes, signals and failures, whatever the child does."""

    def setUp(self):
        super().setUp()
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        try:
            os.link(harness.BIN / "dslad-worker", self.bin / "dslad-worker")
        except OSError:  # another file system
            shutil.copy2(harness.BIN / "dslad-worker", self.bin)
        real = harness.BIN
        harness.BIN = self.bin
        self.addCleanup(setattr, harness, "BIN", real)
        self.tool("while True: time.sleep(0.01)")

    def tool(self, body):
        script = self.bin / "dslad-model"
        script.with_suffix(".new").write_text(f"#!{sys.executable} -BES\n" + SCRIPT.format(body=body))
        script.with_suffix(".new").chmod(0o755)
        script.with_suffix(".new").rename(script)

    def runs(self):
        file = self.bin / "runs"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def test_it_runs_when_allowed_yields_to_jobs_and_ends_with_the_worker(self):
        self.serve(*self.options(), "--idle-cpus", 1, allowed=False)
        self.assign()
        self.result()
        self.assertEqual([], self.runs(), "nothing was allowed")
        self.allow()
        pid = self.child()
        until(self.runs, "it says that it runs")
        self.assertEqual(os.SCHED_IDLE, os.sched_getscheduler(pid))
        self.assertEqual(1, len(os.sched_getaffinity(pid)))
        self.assertEqual(16, len(status_of(pid, "SigBlk")))
        self.assertEqual(0, int(status_of(pid, "SigBlk"), 16), "it hears SIGTERM")
        self.assertEqual("1000", pathlib.Path(f"/proc/{pid}/oom_score_adj").read_text().strip())
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        self.assertRegex(limits, rf"Max data size +{NO_LIMIT << 20} +{NO_LIMIT << 20}")
        self.assertIn("idle", subprocess.run(["ionice", "-p", str(pid)], capture_output=True, encoding="utf-8").stdout
                      if shutil.which("ionice") else "idle")

        self.await_stop_by_jobs(pid)
        self.await_state(pid, "S", "R")
        self.allow(False)
        self.await_state(pid, "T")
        self.allow()
        self.await_state(pid, "S", "R")
        self.daemon.send("welcome", lease_ms=60000, heartbeat_ms=20)  # of a daemon that has not allowed it
        self.await_state(pid, "T")

        self.worker.signal(signal.SIGTERM)  # stopped, it still hears that the end has come
        self.assertEqual(0, self.worker.wait())
        self.assertIsNone(state_of(pid))
        self.assertEqual(1, len(self.runs()))

    def test_the_stopped_child_of_a_killed_worker_is_gone(self):
        self.serve(*self.options())
        pid = self.child()
        self.allow(False)
        self.await_state(pid, "T")
        self.worker.kill()
        until(lambda: state_of(pid) in (None, "Z"), "it is gone")

    def test_one_that_does_not_hear_sigterm_is_killed(self):
        self.tool("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(9999)")
        self.serve(*self.options())
        self.await_log("dslad-model distil: deaf")
        pid = self.child()
        self.worker.signal(signal.SIGTERM)
        self.assertEqual(0, self.worker.wait())
        self.assertIsNone(state_of(pid))

    def test_what_fails_is_tried_later_and_later_and_jobs_go_on(self):
        self.tool("print('chatter\\n' * 1000, flush=True)\nprint('no space left on device', file=sys.stderr)\nsys.exit(1)")
        self.serve(*self.options())
        self.await_log("ended with status 1: no space left on device; tried again in 1 s")
        self.assign()
        self.assertNotIn("error", self.result())
        (self.bin / "dslad-model").unlink()
        self.await_log(f"{self.bin}/dslad-model cannot be started: No such file or directory; tried again in 2 s")
        self.assign()
        self.assertNotIn("error", self.result())
        self.assertLess(self.worker.text().count("chatter"), 30)
        self.assertEqual(1, len(self.runs()))

    def test_a_corpus_that_is_gone_and_options_that_are_wrong_are_said(self):
        self.serve(*self.options(), allowed=False)
        self.text.unlink()
        self.allow()
        self.await_log(f"--distil-text: {self.text} is gone; put it back; tried again in 1 s")
        self.text.write_text(STORY * 20)
        self.tool("print('--chained: no such option', file=sys.stderr)\nsys.exit(2)")
        self.await_log("--chained: no such option; it ends until this worker is started with other --distil-options")
        self.assign()
        self.assertNotIn("error", self.result())

    def test_a_tool_that_changes_nothing_is_a_failure(self):
        self.tool("pass")
        self.serve(*self.options())
        self.await_log("nothing has changed; tried again in 1 s")

    def test_a_second_worker_of_the_model_leaves_it_alone(self):
        self.serve(*self.options())
        until(self.runs, "the first one distils")
        first = self.worker
        second = self.serve(*self.options())
        self.assertIn("layer_info", second)
        self.await_log("another process works in it; tried again in 1 s")
        self.assertEqual(1, len(self.runs()))
        first.signal(signal.SIGTERM)
        self.assertEqual(0, first.wait())
        until(lambda: len(self.runs()) == 2, "the second one takes over")

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
        self.child()
        self.assertIn("begins anew; its documents are gone", self.worker.text())
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

    def test_what_cannot_be_is_refused_at_the_start(self):
        questions = ("--distil-eval", self.exam)
        for options, status, says in (
            (("--distil-text", self.text), 2, "--distil-eval"),
            (("--idle-cpus", 1), 2, "--distil-text"),
            (("--distil-recent", 1), 2, "--distil-eval"),
            (("--distil-recent", 129, *questions), 2, "--distil-recent"),
            (questions, 2, "--distil-text or --distil-recent"),
            (("--distil-text", self.folder / "none.txt", *questions), 1, "none.txt is no file that can be read"),
            (("--distil-text", self.text, "--distil-eval", self.text), 1, "name a file of questions or summaries"),
            (("--distil-text", self.text, "--distil-eval", self.folder / "none"), 1, "none"),
            (("--distil-text", self.text, *questions, "--distil-options= --out x"), 1, "--out is the worker's to give"),
            (("--distil-text", self.text, *questions, "--distil-min-quality", 2), 2, "--distil-min-quality"),
        ):
            with self.subTest(options=options):
                worker = self.start_worker(*options, model=self.model, ready=False)
                self.assertEqual(status, worker.wait(), worker.text())
                worker.expected_exit.add(status)
                self.assertIn(says, worker.text())


@unittest.skipUnless(TOOL.exists(), "dslad-model is not built")
class WithTheTool(IdleCase):
    """Chains that grow, in the end."""

    def manifest(self):
        return json.loads((self.chain / "chain.json").read_text())

    def await_table(self, plans, seen=None):
        """The worker's next offer of so many plans; `seen` collects each layer's states on the way."""
        while True:
            body = self.daemon.receive("plans").body
            for layer in body["layer_info"] if seen is not None else ():
                states = seen.setdefault(layer["layer"], [])
                if layer["state"] != (states[-1] if states else None):
                    states.append(layer["state"])
            if len(body["plans"]) == plans:
                return body
            for plan in body["plans"]:
                self.assertIsNotNone(plan["quality"], "it is measured before it is offered")

    def await_layer(self, layer, state):
        while True:
            info = self.daemon.receive("plans").body["layer_info"][layer]
            if info["state"] == state:
                return info

    def test_layer_after_layer_is_distilled_measured_and_offered(self):
        hello = self.serve(*self.options(), "--distil-layers", 2)
        self.assertEqual([0], [plan["plan"] for plan in hello["plans"]])
        seen = {}
        offered = self.await_table(3, seen)
        self.assertEqual([1.0, 1.0, 1.0], [plan["quality"] for plan in offered["plans"]])
        self.assertEqual(["distilling", "distilled"], seen[0][-2:])
        self.assertEqual(["planned", "distilling", "distilled"], seen[1])
        self.assertEqual([["transformer"]] * 3, [seen[layer] for layer in (2, 3, 4)], "nobody asked for them")
        self.assertNotIn("failed", str(seen))
        self.assign(plan=2)
        metrics = self.result()["metrics"]
        self.assertEqual((2, offered["edition"], 1.0), (metrics["plan"], metrics["edition"], metrics["quality"]))
        manifest = self.manifest()
        self.assertEqual([0, 1], [layer["layer"] for layer in manifest["layers"]])
        self.assertEqual([0, 1, 2], [plan["plan"] for plan in manifest["plans"]])
        self.assertIn("exam.jsonl", manifest["plans"][2]["scores"])
        self.assertGreater((self.chain / "log.jsonl").stat().st_size, 0)
        self.await_log("all 2 layers are converted")
        self.assertEqual([], [file.name for file in (self.chain / "idle").iterdir()])
        self.assertEqual([], self.children())

    def small_disk(self, size):
        """Where the chain comes to lie."""
        self.chain.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.chain)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            self.skipTest("mounting a tmpfs needs root and CAP_SYS_ADMIN")
        self.addCleanup(lambda: (self.finish_processes(), subprocess.run(["umount", str(self.chain)], check=True)))

    def test_a_full_disk_is_said_jobs_go_on_and_so_does_it_once_there_is_room(self):
        self.small_disk("32k")
        self.serve(*self.options(), "--distil-layers", 1)
        self.await_log("No space left on device; tried again in")
        self.assign()
        self.assertNotIn("error", self.result())
        subprocess.run(["mount", "-o", "remount,size=64m", str(self.chain)], check=True)
        self.await_table(2)
        self.assign(plan=1)
        self.assertEqual(1, self.result()["metrics"]["plan"])
        self.await_log("all 1 layers are converted")

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

    def test_killed_at_any_moment_it_goes_on(self):
        self.serve(*self.options(LONG.replace("100000", "120")), "--distil-layers", 2)
        killed = []
        while len(killed) < 4 and not (self.chain / "chain.json").exists():
            what = len(killed) % 3
            verb = "eval" if (self.chain / "idle/chain/layer-00.safetensors").exists() else "distil"
            pid = self.child(verb)
            time.sleep(0.1 * len(killed))
            killed.append((what, verb))
            with contextlib.suppress(ProcessLookupError):
                if what == 0:
                    os.kill(pid, signal.SIGKILL)
                    continue
            self.worker.kill()
            until(lambda: state_of(pid) in (None, "Z"), "the child is gone")
            self.serve(*self.options(LONG.replace("100000", "120")), "--distil-layers", 2)
        self.await_table(3)
        steps = [(line["layer"], line["stage"], line["step"])
                 for line in map(json.loads, (self.chain / "log.jsonl").read_text().splitlines()) if "step" in line]
        self.assertEqual(sorted(set(steps)), sorted(steps), "no step was done twice")
        self.assign(plan=2)
        self.assertEqual(2, self.result()["metrics"]["plan"])

    def test_a_plan_below_the_floor_is_failed_with_its_numbers_until_something_is_changed(self):
        self.serve(*self.options(BAD))
        failed = self.await_layer(0, "failed")
        self.assertLess(failed["quality"], 0.95)
        self.assertFalse(failed["distilled"])
        self.assertIn(", below 0.950", failed["reason"])
        self.await_log("layer 0 has failed: plan 1 has quality 0.")
        self.assertIn(", below 0.950; give other --distil-options", self.worker.text())
        self.assertFalse((self.chain / "chain.json").exists(), "it is not offered")
        self.assertEqual([], self.children())
        self.worker.signal(signal.SIGTERM)
        self.worker.wait()

        begun = (self.chain / "idle/record.json").stat().st_mtime_ns
        hello = self.serve(*self.options(BAD))
        self.assertEqual(failed, hello["layer_info"][0])
        self.assertEqual({"transformer"}, {layer["state"] for layer in hello["layer_info"][1:]}, "nothing will come of them")
        self.await_log("layer 0 has failed: plan 1 has quality 0.")  # and is not tried again
        self.assertEqual([], self.children())
        self.assertEqual(begun, (self.chain / "idle/record.json").stat().st_mtime_ns)
        self.worker.signal(signal.SIGTERM)
        self.worker.wait()
        self.serve(*self.options(BAD), "--distil-min-quality", 0, "--distil-layers", 1)
        self.assertEqual(failed["quality"], self.await_table(2)["plans"][1]["quality"], "it need not be distilled again")

    def test_a_layer_is_in_work_and_others_are_planned_as_soon_as_the_order_is_decided(self):
        hello = self.serve(*self.options(LONG.replace("--order index", "--order entropy-ascending")), "--distil-layers", 3)
        self.assertEqual({"transformer"}, {layer["state"] for layer in hello["layer_info"]}, "who is first is not known")
        while True:
            states = [layer["state"] for layer in self.daemon.receive("plans").body["layer_info"]]
            if "distilling" in states:
                break
        self.assertEqual(["distilling", "planned", "planned", "transformer", "transformer"], sorted(states))

    def test_other_options_go_on_from_the_layers_that_are_there(self):
        self.serve(*self.options(), "--distil-layers", 1)
        self.await_table(2)
        self.worker.signal(signal.SIGTERM)
        self.worker.wait()
        other = QUICK + " --layer-variant 1=dslad,window=512,feature_map=softmax_pair"
        self.serve(*self.options(other), "--distil-layers", 3)
        self.await_table(4)
        manifest = self.manifest()
        self.assertEqual(1, manifest["recipe"]["from"]["keep"])
        self.assertIn("softmax_pair", manifest["layers"][1]["variant"]["name"])

    def test_its_memory_has_a_limit_of_its_own(self):
        self.serve(*self.options()[:-1], 8)
        self.await_log("tried again in 1 s")
        self.assign()
        self.assertNotIn("error", self.result())

    def latencies(self, jobs):
        """Seconds from assignment to result of short jobs that come one by one, sorted."""
        times = []
        for _ in range(jobs):
            time.sleep(0.02)  # so that the child has gone on
            begin = time.monotonic()
            self.assign()
            self.result()
            times.append(time.monotonic() - begin)
        return sorted(times)

    def test_short_jobs_beside_it_are_answered(self):
        # How long they take is printed and not asserted: docs/adaptive.md has figures.
        jobs = int(os.environ.get("DSLAD_LATENCY_JOBS", 20))
        self.serve(*self.options(LONG), "--idle-cpus", os.cpu_count(), allowed=False)
        self.latencies(jobs)  # warm
        for what in ("alone", "beside it", "alone", "beside it"):
            self.allow(what == "beside it")
            if what == "beside it":
                self.await_state(self.child(), "R")
            times = self.latencies(jobs)
            p50, p95, slowest = (1e3 * times[index] for index in (jobs // 2, jobs * 95 // 100, -1))
            print(f"{what}: p50 {p50:.2f} ms, p95 {p95:.2f} ms, slowest {slowest:.2f} ms", flush=True)

    def busy(self):
        """Gives every processor more to do than it can. Whether what is idle may come back beside that is the kernel's to say."""
        if os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_NICE)[0] < 20:
            return
        for _ in range(8 * os.cpu_count()):
            spinning = subprocess.Popen([sys.executable, "-BSc", "while True: pass"])
            self.addCleanup(spinning.wait)
            self.addCleanup(spinning.kill)

    def test_sigterm_writes_a_checkpoint_and_leaves_no_orphan(self):
        self.serve(*self.options(LONG))
        log = self.chain / "idle/chain/log.jsonl"
        until(lambda: log.exists() and '"step"' in log.read_text(), "steps are done")
        pid = self.child()
        self.allow(False)
        self.await_state(pid, "T")
        self.busy()
        self.worker.signal(signal.SIGTERM)
        self.assertEqual(0, self.worker.wait())
        self.assertIsNone(state_of(pid))
        checkpoint = json.loads((self.chain / "idle/chain/checkpoint.json").read_text())
        self.assertGreater(checkpoint["step"], 0)
        self.assertIn("dslad-model distil: ", self.worker.text())


@unittest.skipUnless(TOOL.exists(), "dslad-model is not built")
class WithARealDaemon(harness.SystemTest):
    """What users see of it."""

    def states(self):
        layers = json.loads(self.ctl_ok("--json", "layers"))
        return [layer["state"] for model in layers["models"] for layer in model["layers"]]

    def await_states(self, *states):
        until(lambda: self.states() == list(states), f"layers are {states}, not {self.states()}")

    def events(self, layer):
        return [tuple(row) for row in self.sql(
            f"SELECT from_state, to_state FROM conversion_events WHERE layer = {layer} ORDER BY id")]  # fmt: skip

    def start_daemon(self, idle_after_ms):
        return super().start_daemon("--set", "policy.kind=static", "--set", "policy.static_plan=0", "--set",
                                    f"policy.idle_after_ms={idle_after_ms}")  # fmt: skip

    def test_layers_are_planned_then_distilling_then_distilled(self):
        model, text, exam = self.folder / "model", self.folder / "story.txt", self.folder / "exam.jsonl"
        shutil.copytree(harness.MODEL, model)
        text.write_text(STORY * 20)
        item = {"id": "1", "task": "summarize", "document": "Lily had a red ball.", "items": [{"summaries": ["A ball."]}]}
        exam.write_text(json.dumps(item) + "\n")
        subprocess.run([TOOL, "distil", model, "--text", text, "--layers", "1", *QUICK.split()], check=True, capture_output=True)
        distils = ("--distil-text", text, "--distil-eval", exam, f"--distil-options= {QUICK}", "--distil-layers", 3,
                   "--distil-min-quality", 0, "--idle-memory-mib", NO_LIMIT)  # fmt: skip
        daemon = self.start_daemon(3600000)
        worker = self.start_worker(*distils, model=model)
        planned = ["distilled", "planned", "planned", "transformer", "transformer"]
        self.assertEqual(planned, self.states())
        self.assertEqual(2, self.ctl_ok("layers").count("planned"))
        other = self.start_worker(model=model)
        self.assertEqual(planned, self.states(), "one of them will distil these layers")
        for each in (worker, other):
            each.signal(signal.SIGTERM)
            self.assertEqual(0, each.wait())
        other = self.start_worker(model=model)
        self.await_states("distilled", *["transformer"] * 4)
        self.assertEqual([("transformer", "planned"), ("planned", "transformer")], self.events(2))
        other.signal(signal.SIGTERM)
        self.assertEqual(0, other.wait())
        self.start_worker(*distils, model=model)
        self.await_states(*planned)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait())
        self.start_daemon(100)
        self.await_states(*["distilled"] * 3, *["transformer"] * 2)
        steps = [("transformer", "planned"), ("planned", "distilling"), ("distilling", "distilled")]
        self.assertEqual(steps, self.events(1)[-3:])
        self.assertEqual(steps, self.events(2)[-3:])
        self.assertEqual([], self.events(4))


if __name__ == "__main__":
    unittest.main()
