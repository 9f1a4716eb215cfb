"""What tests of distilling in idle time share: a real worker beside a link that the test answers, and what takes
dslad-model's place."""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time
import unittest

import harness
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


class ScriptCase(IdleCase):
    """A script in dslad-model's place, where the work itself does not matter."""

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


@unittest.skipUnless(TOOL.exists(), "dslad-model is not built")
class ToolCase(IdleCase):
    """dslad-model itself."""

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

    def small_disk(self, size):
        """Where the chain comes to lie."""
        self.chain.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.chain)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            self.skipTest("mounting a tmpfs needs root and CAP_SYS_ADMIN")
        self.addCleanup(lambda: (self.finish_processes(), subprocess.run(["umount", str(self.chain)], check=True)))

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

    def busy(self):
        """Gives every processor more to do than it can. Whether what is idle may come back beside that is the kernel's to say."""
        if os.geteuid() != 0 and resource.getrlimit(resource.RLIMIT_NICE)[0] < 20:
            return
        for _ in range(8 * os.cpu_count()):
            spinning = subprocess.Popen([sys.executable, "-BSc", "while True: pass"])
            self.addCleanup(spinning.wait)
            self.addCleanup(spinning.kill)
