"""dslactl before a person: bars on a terminal, plain lines elsewhere, colours only where they are wanted, Ctrl-C."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import unittest

from fake_worker import FakeWorker
from harness import BIN, PATIENCE, SystemTest, until
from wire import generate


class Terminal(SystemTest):
    def setUp(self):
        super().setUp()
        self.start_daemon()
        self.client = self.peer()
        self.addCleanup(self.client.close)
        self.worker = FakeWorker(self.workers_url, capacity=4)
        self.addCleanup(self.worker.close)
        self.worker.hello()

    def open_ctl(self, *arguments, terminal=False, columns=80, env=None):
        """dslactl running; its output grows in .seen as read() is called."""
        environment = {**os.environ, "DSLAD_CONNECT": self.jobs_url, "TERM": "xterm", **(env or {})}
        environment.pop("NO_COLOR", None) if not env else None
        ours, theirs = pty.openpty() if terminal else os.pipe()
        if terminal:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        child = subprocess.Popen([str(BIN / "dslactl"), *map(str, arguments)], stdin=subprocess.DEVNULL,
                                 stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        os.set_blocking(ours, False)
        self.addCleanup(os.close, ours)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        child.seen = ""

        def read():
            try:
                child.seen += os.read(ours, 65536).decode(errors="replace")
            except (BlockingIOError, OSError):  # a terminal whose other end is closed gives EIO
                pass
            return child.seen

        child.read = read
        return child

    def await_text(self, child, text):
        until(lambda: text in child.read(), f"{text!r} is printed")

    def end(self, child):
        """Its status, with all of its output read."""

        def ended():
            child.read()
            return child.poll() is not None

        until(ended, "dslactl ends")
        child.read()
        return child.returncode

    def running_job(self):
        self.client.submit(generate())
        return self.worker.take_job()

    def show_progress(self, child, job, text, **progress):
        def shown():
            self.worker.heartbeat(job, **progress)
            return text in child.read()

        until(shown, f"{text!r} is shown")

    def test_wait_draws_bars_on_a_terminal(self):
        job = self.running_job()
        child = self.open_ctl("wait", job["job"], terminal=True)
        self.show_progress(child, job, "1,024 of 4,096 tokens", phase="prefill", prompt_done=1024, prompt_total=4096)
        self.assertIn("[######..................]", child.seen)
        self.show_progress(child, job, "7 tokens written", phase="decode", tokens_out=7)
        self.assertIn("\x1b[", child.seen, "bars are not redrawn in place")
        self.worker.finish(job)
        self.assertEqual(0, self.end(child))
        self.assertIn("\x1b[32msucceeded\x1b[0m", child.seen)

    def test_bars_fit_a_narrow_window(self):
        job = self.running_job()
        child = self.open_ctl("wait", job["job"], terminal=True, columns=40)
        self.show_progress(child, job, "[######....", phase="prefill", prompt_done=1024, prompt_total=4096)
        self.worker.finish(job)
        self.assertEqual(0, self.end(child))
        bars = [line for line in re.sub("\x1b\\[[0-9]*[A-Za-z]", "", child.seen).splitlines() if "[" in line]
        self.assertEqual({39}, {len(line) for line in bars})

    def test_no_color_keeps_the_bars_and_drops_the_colours(self):
        job = self.running_job()
        child = self.open_ctl("wait", job["job"], terminal=True, env={"NO_COLOR": "1"})
        self.show_progress(child, job, "7 tokens written", phase="decode", tokens_out=7)
        self.worker.finish(job)
        self.assertEqual(0, self.end(child))
        self.assertIn(f"job {job['job']} succeeded after", child.seen)
        self.assertNotRegex(child.seen, "\x1b\\[[0-9]*m")

    def test_wait_prints_plain_lines_elsewhere(self):
        job = self.running_job()
        child = self.open_ctl("wait", job["job"])
        self.show_progress(child, job, "running, decode", phase="decode", tokens_out=7)
        self.worker.finish(job)
        self.assertEqual(0, self.end(child))
        self.assertNotIn("\x1b", child.seen)
        self.assertRegex(child.seen, f"job {job['job']} succeeded after [0-9.]+ m?s\n$")

    def test_ctrl_c_ends_the_waiting_and_not_the_job(self):
        job = self.running_job()
        child = self.open_ctl("wait", job["job"])
        self.show_progress(child, job, "running", phase="decode")
        child.send_signal(signal.SIGINT)
        self.assertEqual(130, self.end(child))
        self.assertIn(f"dslactl wait {job['job']}", child.seen)
        self.assertTrue(self.worker.finish(job))

    def test_wait_outlives_a_restart_of_the_daemon(self):
        [job] = self.client.submit(generate())
        child = self.open_ctl("wait", job)
        self.worker.take_job()
        self.await_text(child, "running")
        [daemon] = self.processes
        daemon.kill()
        self.start_daemon()
        with FakeWorker(self.workers_url) as worker:
            worker.hello()
            self.client.request("cancel", {"ids": [job]})
            self.assertEqual(1, self.end(child))
        self.assertIn("cancelled", child.seen)

    def test_watch_prints_events_as_they_come_and_ends_at_ctrl_c(self):
        child = self.open_ctl("watch", "--json")
        self.await_text(child, "watching")

        def seen_events():
            self.worker.finish(self.running_job())
            return '"state":"succeeded"' in child.read()

        until(seen_events, "a job's end is printed")
        child.send_signal(signal.SIGINT)
        self.assertEqual(130, self.end(child))
        events = [json.loads(line) for line in child.seen.splitlines() if line.startswith("{")]
        self.assertIn("job.state", {event["topic"] for event in events})
        sequences = [event["sequence"] for event in events]
        self.assertEqual(list(range(sequences[0], sequences[0] + len(sequences))), sequences)

    def test_watch_ends_when_the_daemon_has_gone(self):
        child = self.open_ctl("watch", "--rpc-timeout", 1)
        self.await_text(child, "watching")
        self.processes[0].kill()
        self.assertEqual(3, self.end(child))
        self.assertIn("is dslad running?", child.seen)

    def test_control_characters_do_not_reach_the_terminal(self):
        [job] = self.client.submit(generate(custom_id="evil\x1b]0;owned\x07\nname"))
        child = self.open_ctl("list", terminal=True)
        self.assertEqual(0, self.end(child))
        self.assertIn("evil?]0;owned??name", child.seen)
        self.worker.finish(self.worker.take_job(), text="two\nlines \x1b[2J")
        child = self.open_ctl("result", job, terminal=True)
        self.assertEqual(0, self.end(child))
        self.assertIn("two\r\nlines ?[2J", child.seen)
        self.assertEqual("two\nlines \x1b[2J\n", self.ctl_ok("result", job), "a pipe gets the text as it is")

    def test_a_reader_that_goes_away_is_no_error_worth_a_word(self):
        self.client.submit(*[generate() for _ in range(100)])
        done = subprocess.run(f"'{BIN}/dslactl' list | head -n 1", shell=True, capture_output=True, encoding="utf-8",
                              env={**os.environ, "DSLAD_CONNECT": self.jobs_url}, timeout=PATIENCE)
        self.assertEqual("", done.stderr)


if __name__ == "__main__":
    unittest.main()
