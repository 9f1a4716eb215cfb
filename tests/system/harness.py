"""Runs the real programs for a test, in a folder of its own that goes away with it.

Every process logs to a file there, which is printed when the test fails. Whatever a test leaves running is ended with
SIGTERM and must exit with 0: so a sanitizer's report, a crash or a hang in shutdown fails the test too. Deadlines are
generous because all of this also runs with sanitizers on a loaded machine; nothing asserts how long a thing takes."""

import contextlib
import ctypes
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

import wire

BIN = pathlib.Path(os.environ["DSLAD_BIN"])
SOURCE = pathlib.Path(os.environ["DSLAD_SOURCE"])
MODEL = SOURCE / "tests/golden/stories260K"
# Their memory is not the product's.
SANITIZED = any(name in (BIN / "dslad").read_bytes() for name in (b"__asan_init", b"__tsan_init"))
PATIENCE = 120.0  # seconds that any single step may take before a test calls it hung

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def leases_of(lease_ms):
    """Options of a dslad that gives a silent worker up after this time."""
    return ("--set", f"workers.lease_ms={lease_ms}", "--set", f"workers.heartbeat_ms={lease_ms // 5}")


def free_port():
    """Below those that the system gives to whoever connects: one of them may be taken before a daemon listens there."""
    while True:
        port = random.SystemRandom().randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(predicate, what, patience=PATIENCE):
    """Polls until predicate() gives something true, and returns that."""
    deadline = time.monotonic() + patience
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.02)


def resident_bytes(process):
    with open(f"/proc/{process.child.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Process:
    """A child that dies with this process, and whose output is kept."""

    def __init__(self, name, command, log, env=None, pass_fds=()):
        self.name = name
        self.log = log
        self.expected_exit = {0}
        with open(log, "ab") as output:
            self.child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """As a power failure does it to the process: no handler runs."""
        self.child.kill()
        self.child.wait()
        self.expected_exit.add(-signal.SIGKILL)

    def wait(self, patience=PATIENCE):
        return self.child.wait(patience)

    def finish(self):
        """Ends it as an operator does and returns what is wrong with its end, if anything."""
        if self.alive():
            self.signal(signal.SIGCONT)
            self.child.terminate()
        try:
            status = self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.send_signal(signal.SIGABRT)
            self.child.wait()
            return f"{self.name} did not end within {PATIENCE} s of SIGTERM"
        return None if status in self.expected_exit else f"{self.name} ended with status {status}"


class SystemTest(unittest.TestCase):
    """Base of all tests here: a folder, processes in it, and the ways to talk to them."""

    maxDiff = None
    daemon_options = ()  # more arguments for every dslad of the class

    def run(self, result=None):
        result = result if result is not None else self.defaultTestResult()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="dslad-", dir=short_temporary_folder()))
        self.processes = []
        before = len(result.failures), len(result.errors)
        try:
            super().run(result)
            wrong = [text for ends, known in zip((result.failures, result.errors), before) for _, text in ends[known:]]
            if wrong:
                # What failed before what was logged, which may be long: whoever cuts the output keeps its beginning.
                print(f"---- {self.id()}:\n" + "\n".join(wrong)[:3000], file=sys.stderr)
                self.print_logs()
        finally:
            for process in self.processes:
                if process.alive():
                    process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        return result

    def setUp(self):
        self.addCleanup(self.finish_processes)
        self.state_dir = self.folder / "state"
        self.jobs_url, self.workers_url, self.events_url = (
            f"ipc://{self.folder}/{name}.sock" for name in ("jobs", "workers", "events")
        )

    def finish_processes(self):
        wrong = [process.finish() for process in reversed(self.processes)]
        self.assertEqual([], [text for text in wrong if text])

    def print_logs(self):
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()
            print(f"---- {self.id()}: {log.name}, last {min(len(lines), 100)} of {len(lines)} lines", file=sys.stderr)
            print("\n".join(lines[-100:]), file=sys.stderr)

    def environment_of_another_user(self):
        """For a process of another user: what a sanitizer reads lies where that one may read it."""
        environment = dict(os.environ)
        named = re.search(r"suppressions=([^:]+)", environment.get("TSAN_OPTIONS", ""))
        if named:
            copy = shutil.copy(named.group(1), self.folder / "tsan.supp")
            environment["TSAN_OPTIONS"] = environment["TSAN_OPTIONS"].replace(named.group(1), str(copy))
        return environment

    def start(self, name, *command, env=None, pass_fds=()):
        process = Process(name, command, self.folder / f"{name}-{len(self.processes)}.log", env, pass_fds)
        self.processes.append(process)
        return process

    def start_daemon(self, *options, env=None, ready=True):
        daemon = self.start(
            "dslad", BIN / "dslad", "--state-dir", self.state_dir, "--jobs", self.jobs_url, "--workers", self.workers_url,
            "--events", self.events_url, *self.daemon_options, *options, env=env,
        )
        if ready:
            self.await_daemon(daemon)
        return daemon

    def await_daemon(self, daemon):
        def answers():
            self.assertTrue(daemon.alive(), f"dslad ended: {daemon.text()}")
            with contextlib.suppress(wire.Silence), self.peer() as peer:
                return peer.request("ping", timeout=1.0)

        until(answers, "dslad answers a ping")

    def start_worker(self, *options, model=MODEL, dtype="f32", cache_mib=64, env=None, ready=True):
        worker = self.start(
            "dslad-worker", BIN / "dslad-worker", "--connect", self.workers_url, "--model", model, "--device", "cpu",
            "--dtype", dtype, "--threads", "1", "--cache-mib", str(cache_mib), *options, env=env,
        )
        if ready:
            self.await_worker(worker)
        return worker

    def await_worker(self, worker):
        def connected():
            self.assertTrue(worker.alive(), f"dslad-worker ended: {worker.text()}")
            return any(f":{worker.child.pid}:" in entry["name"] for entry in self.status()["workers"])

        until(connected, "the worker is connected")

    def peer(self):
        return wire.Peer(self.jobs_url)

    def status(self):
        with self.peer() as peer:
            return peer.request("status")

    def ctl(self, *arguments, stdin=None, env=None, url=None):
        """dslactl to its end: the CompletedProcess, output as text."""
        return subprocess.run(
            [str(BIN / "dslactl"), *(str(argument) for argument in arguments)],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            encoding="utf-8",
            timeout=3 * PATIENCE,
            env={**os.environ, "DSLAD_CONNECT": url or self.jobs_url, **(env or {})},
        )

    def ctl_ok(self, *arguments, **others):
        done = self.ctl(*arguments, **others)
        self.assertEqual(0, done.returncode, f"dslactl {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def sql(self, query, *values):
        """Rows of the daemon's database, read as a user's sqlite3 reads it while the daemon runs."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state_dir}/dslad.db?mode=ro", uri=True, timeout=30)) as db:
            db.row_factory = sqlite3.Row
            return db.execute(query, values).fetchall()


def short_temporary_folder():
    """A socket's path has at most 107 bytes."""
    folder = tempfile.gettempdir()
    return folder if len(folder) < 40 else "/tmp"
