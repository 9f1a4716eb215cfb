"""Both programs as a service manager sees them: sd_notify over a real NOTIFY_SOCKET, the watchdog, draining."""

import os
import signal
import socket
import sys
import time
import unittest

import wire
from fake_worker import FakeWorker
from harness import BIN, SystemTest, leases_of, until
from stopped_thread import StoppedThread


class Manager:
    """The socket on which a service manager listens for notifications."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.heard = []  # assignments, in order
        self.path = str(path)

    def assignments(self):
        while True:
            try:
                self.heard += self.socket.recv(65536).decode().splitlines()
            except BlockingIOError:
                return self.heard

    def count(self, prefix):
        return sum(1 for line in self.assignments() if line.startswith(prefix))

    def await_line(self, prefix, times=1):
        until(lambda: self.count(prefix) >= times, f"{times} x {prefix} is notified")


class DeafManager(SystemTest):
    """What holds NOTIFY_SOCKET may hang, or have no use for it: the kernel keeps ten messages for it and no more."""

    def setUp(self):
        super().setUp()
        self.managers = [Manager(self.folder / f"{name}.notify") for name in ("daemon", "worker")]
        for manager in self.managers:
            self.addCleanup(manager.socket.close)

    def test_a_manager_that_does_not_read_holds_up_nobody(self):
        of_daemon, of_worker = ({"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"} for manager in self.managers)
        daemon = self.start_daemon(env=of_daemon)
        worker = self.start_worker(env=of_worker)
        with self.peer() as client:
            for _ in range(15):  # each changes the status that they tell
                client.wait(*client.submit(wire.generate(max_tokens=4)), timeout=30.0)
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait())
        daemon.signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait())
        for manager in self.managers:
            self.assertEqual(1, manager.count("READY=1"))


class Service(SystemTest):
    def manager(self, name):
        manager = Manager(self.folder / f"{name}.notify")
        self.addCleanup(manager.socket.close)
        return manager, {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "400000"}

    def test_the_daemon_is_ready_only_once_it_answers_and_keeps_the_watchdog_fed(self):
        manager, env = self.manager("daemon")
        daemon = self.start_daemon(env=env, ready=False)
        manager.await_line("READY=1")
        with self.peer() as client:
            client.request("ping")
        manager.await_line("STATUS=")
        manager.await_line("WATCHDOG=1", times=3)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait())
        manager.await_line("STOPPING=1")

    def test_the_worker_asks_for_more_time_while_it_loads_and_is_ready_when_connected(self):
        self.start_daemon()
        manager, env = self.manager("worker")
        worker = self.start_worker(env=env)
        manager.await_line("READY=1")
        heard = manager.assignments()
        first_extension = next(i for i, line in enumerate(heard) if line.startswith("EXTEND_TIMEOUT_USEC="))
        self.assertLess(first_extension, heard.index("READY=1"))
        self.assertGreater(int(heard[first_extension].split("=")[1]), 0)
        manager.await_line("STATUS=")
        manager.await_line("WATCHDOG=1", times=3)
        worker.signal(signal.SIGTERM)
        self.assertEqual(0, worker.wait())
        manager.await_line("STOPPING=1")

    def test_a_reload_takes_what_may_change_and_says_what_may_not(self):
        manager, env = self.manager("daemon")
        file = self.folder / "dslad.toml"
        file.write_text("[queue]\nmax_queued = 2\n")
        daemon = self.start_daemon("--config", file, env=env)
        with self.peer() as client:
            with self.assertRaises(wire.Refusal):
                client.submit(*[wire.generate()] * 3)
            file.write_text("[queue]\nmax_queued = 5\n[listen]\nmax_connections = 77\n")
            daemon.signal(signal.SIGHUP)
            until(lambda: "read anew" in daemon.text(), "it is taken")
            self.assertIn("queue.max_queued is 5 now, was 2", daemon.text())
            self.assertIn("listen.max_connections stays 16384, 77 is not taken: restart dslad", daemon.text())
            client.submit(*[wire.generate()] * 3)
        manager.await_line("READY=1", times=2)
        heard = [line.split("=")[0] for line in manager.assignments()]
        first = heard.index("RELOADING")
        self.assertEqual("MONOTONIC_USEC", heard[first + 1])
        self.assertIn("READY", heard[first:])

    def test_a_reload_of_a_wrong_configuration_changes_nothing(self):
        file = self.folder / "dslad.toml"
        file.write_text("[queue]\nmax_queued = 2\n")
        daemon = self.start_daemon("--config", file)
        file.write_text("[queue]\nmax_queued = 5\nmax_attempts = 0\n")
        daemon.signal(signal.SIGHUP)
        until(lambda: "nothing of it was taken" in daemon.text(), "it is refused")
        self.assertIn(f"{file}:3: queue.max_attempts is 0", daemon.text())
        with self.peer() as client, self.assertRaises(wire.Refusal):
            client.submit(*[wire.generate()] * 3)

    def pings_end_while_stopped(self, thread, kind, body):
        manager, env = self.manager("daemon")
        daemon = self.start_daemon("--set", "store.busy_timeout_ms=100", env=env)
        manager.await_line("WATCHDOG=1", times=2)
        with self.peer() as client, StoppedThread(daemon.child.pid, thread):
            client.send(kind, body)
            until(lambda: self.is_silent(manager), "the watchdog hears nothing more")
        manager.await_line("WATCHDOG=1", times=manager.count("WATCHDOG=1") + 2)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait())

    @staticmethod
    def is_silent(manager):
        before = manager.count("WATCHDOG=1")
        time.sleep(1)  # five pings' time
        return manager.count("WATCHDOG=1") == before

    def test_a_writer_that_stands_still_is_not_hidden_from_the_watchdog(self):
        self.pings_end_while_stopped("dslad-writer", "submit", {"jobs": [wire.generate()]})

    def test_a_reader_that_stands_still_is_not_hidden_from_the_watchdog(self):
        self.pings_end_while_stopped("dslad-reader", "list", {})

    def test_without_a_watchdog_no_ping_is_sent(self):
        manager, env = self.manager("daemon")
        del env["WATCHDOG_USEC"]
        daemon = self.start_daemon(env=env)
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        manager.await_line("STOPPING=1")
        self.assertEqual(0, manager.count("WATCHDOG=1"))

    def test_a_watchdog_meant_for_another_process_is_not_fed(self):
        manager, env = self.manager("daemon")
        daemon = self.start_daemon(env={**env, "WATCHDOG_PID": "1"})
        daemon.signal(signal.SIGTERM)
        daemon.wait()
        manager.await_line("STOPPING=1")
        self.assertEqual(0, manager.count("WATCHDOG=1"))


class SocketActivation(SystemTest):
    def passed(self, *urls):
        """Listening sockets as a socket unit makes them, and how a program is started that gets them."""
        sockets = []
        for url in urls:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(url.removeprefix("ipc://"))
            listener.listen(64)
            os.chmod(url.removeprefix("ipc://"), 0o640)
            self.addCleanup(listener.close)
            sockets.append(listener)
        return sockets

    def start_with(self, sockets, **options):
        # As systemd does it: descriptors from 3 on, and the variables that tell of them.
        script = ("import os, sys\nfor to, fd in enumerate(map(int, sys.argv[1].split(',')), 100): os.dup2(fd, to)\n"
                  f"for i in range({len(sockets)}): os.dup2(100 + i, 3 + i, True)\n"
                  "os.environ['LISTEN_PID'] = str(os.getpid())\nos.execv(sys.argv[2], sys.argv[2:])\n")
        for each in sockets:
            os.set_inheritable(each.fileno(), True)
        command = [sys.executable, "-c", script, ",".join(str(each.fileno()) for each in sockets), BIN / "dslad",
                   "--state-dir", self.state_dir, "--jobs", self.jobs_url, "--workers", self.workers_url,
                   "--events", self.events_url]
        return self.start("dslad", *command, env={"LISTEN_FDS": str(len(sockets))}, pass_fds=[s.fileno() for s in sockets])

    def test_serves_on_the_sockets_that_it_is_passed_and_leaves_them_behind(self):
        paths = [url.removeprefix("ipc://") for url in (self.jobs_url, self.workers_url, self.events_url)]
        sockets = self.passed(self.jobs_url, self.workers_url, self.events_url)
        before = [os.stat(path) for path in paths]
        for _ in range(2):
            daemon = self.start_with(sockets)
            self.await_daemon(daemon)
            worker = self.start_worker()
            with self.peer() as client:
                [job] = client.submit(wire.generate())
                self.assertEqual("succeeded", client.wait(job)[0]["state"])
            worker.signal(signal.SIGTERM)
            self.assertEqual(0, worker.wait())
            daemon.signal(signal.SIGTERM)
            self.assertEqual(0, daemon.wait())
            after = [os.stat(path) for path in paths]
            self.assertEqual([(s.st_ino, s.st_mode) for s in before], [(s.st_ino, s.st_mode) for s in after])

    def test_a_client_that_comes_before_it_has_started_is_served(self):
        sockets = self.passed(self.jobs_url)
        with self.peer() as early:
            early.send("ping")
            self.await_daemon(self.start_with(sockets))
            self.assertNotEqual("error", early.receive().kind)

    def test_a_passed_socket_that_no_setting_names_is_an_error(self):
        other = f"ipc://{self.folder}/other.sock"
        daemon = self.start_with(self.passed(self.jobs_url, other))
        self.assertEqual(4, daemon.wait())
        daemon.expected_exit.add(4)
        self.assertIn("other.sock, and no setting names it", daemon.text())


class Draining(SystemTest):
    daemon_options = leases_of(3000)

    def test_a_worker_told_to_stop_finishes_what_it_holds(self):
        self.start_daemon()
        worker = self.start_worker()
        with self.peer() as client:
            jobs = client.submit(*[wire.generate(max_tokens=200) for _ in range(4)])
            until(lambda: client.request("status")["jobs"]["queued"] == 0, "the worker has the jobs")
            worker.signal(signal.SIGTERM)
            self.assertEqual(0, worker.wait())
            states = {client.job(job)["state"] for job in jobs}
            self.assertLessEqual(states, {"succeeded", "queued"})
            self.start_worker()
            self.assertEqual({"succeeded"}, {job["state"] for job in client.wait(*jobs)})
        self.assertEqual([], self.sql("SELECT * FROM job_attempts WHERE outcome IN ('lost', 'failed')"))

    def test_a_worker_told_to_retire_finishes_what_it_holds_however_long_that_takes(self):
        self.start_daemon()
        manager = Manager(self.folder / "worker.notify")
        self.addCleanup(manager.socket.close)
        worker = self.start_worker("--drain-s", "0", env={"NOTIFY_SOCKET": manager.path})
        with self.peer() as client:
            held = client.submit(*[wire.generate(max_tokens=400) for _ in range(4)])
            until(lambda: client.request("status")["jobs"]["running"] > 0, "the worker has begun")
            worker.signal(signal.SIGUSR2)
            until(lambda: "retiring" in worker.text(), "it has heard that")
            [later] = client.submit(wire.generate())
            self.assertEqual(0, worker.wait())
            states = [client.job(job)["state"] for job in held]
            self.assertIn("succeeded", states)
            self.assertLessEqual(set(states), {"succeeded", "queued"})
            self.assertEqual("queued", client.job(later)["state"])
            self.assertEqual(0, manager.count("STOPPING=1"))  # its manager would end it after a time of its own
            self.assertEqual([], self.sql("SELECT * FROM job_attempts WHERE outcome NOT IN ('succeeded', 'given_back')"))
            self.start_worker()
            self.assertEqual({"succeeded"}, {job["state"] for job in client.wait(*held, later)})

    def test_a_daemon_told_to_stop_ends_and_a_later_one_goes_on_where_it_was(self):
        daemon = self.start_daemon()
        with self.peer() as client:
            [job] = client.submit(wire.generate())
        worker = FakeWorker(self.workers_url)
        self.addCleanup(worker.close)
        worker.hello()
        worker.take_job()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait())
        self.start_daemon()
        self.start_worker()
        with self.peer() as client:
            self.assertEqual("succeeded", client.wait(job)[0]["state"])


if __name__ == "__main__":
    unittest.main()
