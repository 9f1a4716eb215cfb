"""The real daemon and its workers, in a temporary folder that goes away with them. They die with this process, whatever
happens to it; Ctrl-C reaches only this process, which ends them in order."""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from .complaint import Complaint
from .places import wire

START_S = 60.0  # that everything may take to start
STOP_S = 60.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class ServiceOptions:
    bin: pathlib.Path
    model: pathlib.Path
    workers: int
    threads: int  # of each worker
    cache_mib: int  # of each worker
    hold: int | None  # jobs that each worker holds at once; None: its default
    dtype: str
    settings: tuple[str, ...]  # KEY=VALUE of the daemon

    def check(self):
        for program in ("dslad", "dslad-worker", "dslactl"):
            if not os.access(self.bin / program, os.X_OK):
                raise Complaint(f"{self.bin} has no {program}; run ./run build first, or name the folder with --bin")
        if not (self.model / "config.json").is_file():
            raise Complaint(f"{self.model} is no model folder (config.json is missing); name one with --model")


def new_folder() -> pathlib.Path:
    """A temporary folder; a socket's path has at most 107 bytes, so a long TMPDIR is not used."""
    parent = tempfile.gettempdir()
    return pathlib.Path(tempfile.mkdtemp(prefix="dslad-replay-", dir=parent if len(parent) < 40 else "/tmp"))


class Service:
    """A daemon and workers as children, with their state in `folder`. A context manager: started on entry, stopped on
    exit."""

    def __init__(self, options: ServiceOptions, folder: pathlib.Path):
        self.options, self.folder = options, folder
        self.state = folder / "state"
        self.jobs_url, self.workers_url, self.events_url = (
            f"ipc://{folder}/{name}.sock" for name in ("jobs", "workers", "events")
        )
        self.children: list[tuple[str, subprocess.Popen]] = []
        self.state.mkdir(parents=True)

    @property
    def database(self) -> pathlib.Path:
        return self.state / "dslad.db"

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def peer(self) -> wire.Peer:
        return wire.Peer(self.jobs_url)

    def check_alive(self):
        """Complains where a child has ended by itself."""
        for name, child in self.children:
            if child.poll() is not None:
                raise Complaint(f"{name} ended with {child.returncode}; the end of its log:\n{self._log_end(name)}")

    def stop(self):
        """Workers first, so that they can say goodbye; what does not end in time is killed."""
        for name, child in reversed(self.children):
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
            except BaseException:  # a second Ctrl-C: no patience any more
                for _, other in self.children:
                    other.kill()
                raise
        self.children.clear()

    def _start(self):
        o = self.options
        settings = [part for setting in o.settings for part in ("--set", setting)]
        self._spawn("dslad", o.bin / "dslad", "--state-dir", self.state, "--jobs", self.jobs_url,
                    "--workers", self.workers_url, "--events", self.events_url, *settings)  # fmt: skip
        hold = () if o.hold is None else ("--capacity", o.hold)
        for number in range(o.workers):
            self._spawn(f"dslad-worker-{number}", o.bin / "dslad-worker", "--connect", self.workers_url,
                        "--model", o.model, "--device", "cpu", "--dtype", o.dtype, "--threads", o.threads,
                        "--cache-mib", o.cache_mib, "--drain-s", 5, *hold)  # fmt: skip
        self._await_workers()

    def _spawn(self, name, *command):
        with open(self.folder / f"{name}.log", "wb") as log:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        self.children.append((name, child))

    def _await_workers(self):
        deadline = time.monotonic() + START_S
        with self.peer() as peer:
            while True:
                self.check_alive()
                with contextlib.suppress(wire.Silence):
                    if len(peer.request("status", timeout=1.0)["workers"]) == self.options.workers:
                        return
                if time.monotonic() > deadline:
                    raise Complaint(f"the workers did not start within {START_S:.0f} s:\n{self._log_end('dslad')}")
                time.sleep(0.05)

    def _log_end(self, name):
        lines = (self.folder / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])
