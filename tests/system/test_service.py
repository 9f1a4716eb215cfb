"""Both programs as a service manager sees them: sd_notify over a real NOTIFY_SOCKET, the watchdog, draining."""

import signal
import socket
import unittest

import wire
from fake_worker import FakeWorker
from harness import SystemTest, leases_of, until


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
