"""dslactl top: a live view on a terminal that it leaves as it found it, one look as text, objects for programs."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import unittest

from fake_worker import FakeWorker
from harness import BIN, SystemTest, until
from wire import generate

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"


class Screen:
    """dslactl top on a terminal of its own, and what such a terminal shows."""

    def __init__(self, url, *arguments, columns=80, rows=24, **env):
        self.ours, self.theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.theirs)
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        environment |= {"DSLAD_CONNECT": url, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env}
        self.child = subprocess.Popen([str(BIN / "dslactl"), "top", "--interval", "0.1", *arguments], env=environment,
                                      stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True,
                                      preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.seen = ""

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def close(self):
        self.child.kill()
        self.child.wait()
        for end in (self.ours, self.theirs):
            if end is not None:
                os.close(end)

    def read(self):
        """All that was written so far."""
        while select.select([self.ours], [], [], 0.02)[0]:
            self.seen += os.read(self.ours, 65536).decode(errors="replace")
        return self.seen

    def lines(self):
        """What stands on the screen now; fails where anything lies beyond it."""
        cells = {}
        row = column = 1
        for token in re.findall("\x1b\\[\\??[0-9;]*[A-Za-z]|.", self.read(), re.S):
            if not token.startswith("\x1b"):
                cells[row, column] = token
                column += 1
            elif token.endswith("H"):
                row, column = (int(part) for part in (token[2:-1] or "1;1").split(";"))
            elif token[-1] in "KJ":
                all_below = token[-1] == "J"
                cells = {(r, c): text for (r, c), text in cells.items()
                         if r < row or (r == row and c < column) or (r > row and not all_below)}
                if token == "\x1b[2J":
                    cells = {}
        last = max((r for r, _ in cells), default=0)
        return ["".join(cells.get((r, c), " ") for c in range(1, 1 + max((c for q, c in cells if q == r), default=0)))
                for r in range(1, last + 1)]

    def text(self):
        return "\n".join(self.lines())

    def end(self):
        until(lambda: self.read() is not None and self.child.poll() is not None, "dslactl top ends")
        return self.child.returncode


class Top(SystemTest):
    def setUp(self):
        super().setUp()
        self.start_daemon()

    def open_screen(self, *arguments, **options):
        screen = Screen(self.jobs_url, *arguments, **options)
        self.addCleanup(screen.close)
        until(lambda: "queue" in screen.text() or not options.get("ready", True), "the queue is shown")
        return screen

    def assert_restored(self, screen):
        self.assertEqual(screen.before, termios.tcgetattr(screen.theirs))
        self.assertGreater(screen.seen.rindex(LEAVE), screen.seen.rindex(ENTER))
        self.assertGreater(screen.seen.rindex(SHOW_CURSOR), screen.seen.rindex("\x1b[?25l"))

    def test_q_leaves_the_terminal_as_it_was(self):
        screen = self.open_screen()
        self.assertNotEqual(screen.before, termios.tcgetattr(screen.theirs), "keys are not read as they are pressed")
        os.write(screen.ours, b"q")
        self.assertEqual(0, screen.end())
        self.assert_restored(screen)

    def test_signals_leave_the_terminal_as_it_was(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=number):
                screen = self.open_screen()
                screen.child.send_signal(number)
                self.assertIn(screen.end(), (0, 130))
                self.assert_restored(screen)

    def test_ctrl_c_is_a_key_that_ends_it(self):
        screen = self.open_screen()
        os.write(screen.ours, b"\x03")
        self.assertEqual(130, screen.end())
        self.assert_restored(screen)

    def test_it_ends_with_its_terminal(self):
        screen = self.open_screen()
        os.close(screen.theirs)
        os.close(screen.ours)
        screen.ours = screen.theirs = None
        self.assertIn(screen.child.wait(60), (0, 130))

    def test_q_is_heard_while_the_daemon_hangs(self):
        screen = self.open_screen()
        [daemon] = self.processes
        daemon.signal(signal.SIGSTOP)
        until(lambda: "no answer from" in screen.text(), "it says that no answer comes")
        os.write(screen.ours, b"q")
        self.assertEqual(0, screen.end())
        self.assert_restored(screen)

    def test_shows_jobs_workers_and_layers_as_they_go(self):
        screen = self.open_screen(columns=120, rows=40)
        self.assertIn("no worker is connected", screen.text())
        with FakeWorker(self.workers_url, name="lab:1:gpu", capacity=2) as worker, self.peer() as client:
            worker.plan = 2
            worker.hello()
            until(lambda: "██··  plan 2 of fake, 1 worker" in screen.text(), "the layers are shown")
            client.submit(generate(custom_id="evil\x1b]0;owned\x07name"))
            job = worker.take_job()
            worker.heartbeat(job, phase="prefill", prompt_done=1024, prompt_total=4096)
            until(lambda: "1,024 of 4,096 tokens" in screen.text(), "the job's progress is shown")
            self.assertIn("evil?]0;owned?name", screen.text())
            until(lambda: re.search("lab:1:gpu +2 +1/2", screen.text()), "the worker has a job")  # a request of its own
            worker.finish(job)
            until(lambda: "1 succeeded" in screen.text(), "the job's end is shown")
        client.close()

    def test_shows_the_work_of_a_real_worker(self):
        self.start_worker()
        screen = self.open_screen(columns=120, rows=40)
        until(lambda: "·····  plan 0 of stories260K, 1 worker" in screen.text(), "the layers are shown")
        with self.peer() as client:
            def worked():
                client.wait(*client.submit(generate("Once upon a time")))
                rates = {name: float(figure.replace(",", ""))
                         for name, figure in re.findall(r"^(jobs|prompt|output) +([\d.,]+)  ", screen.text(), re.M)}
                return len(rates) == 3 and min(rates.values()) > 0

            until(worked, "jobs and tokens a second are shown")

    def test_fits_every_window(self):
        with self.peer() as client:
            client.submit(*[generate() for _ in range(5)])
            client.request("queue_set", {"mode": "paused"})
        screen = self.open_screen(columns=100, rows=30)
        for columns, rows in ((40, 10), (20, 3), (132, 50), (80, 24), (7, 1)):
            with self.subTest(columns=columns, rows=rows):
                screen.seen = ""
                screen.resize(columns, rows)
                until(lambda: "\x1b[H\x1b[J" in screen.read() and screen.lines(), "it is drawn anew")
                screen.read()
                lines = screen.lines()
                self.assertLessEqual(len(lines), rows)
                self.assertLessEqual(max(map(len, lines)), columns)
        screen.resize(80, 24)
        until(lambda: "paused: no job begins" in screen.text() and "5 waiting" in screen.text(), "the queue is shown")

    def test_a_refresh_writes_little(self):
        screen = self.open_screen()
        screen.read()
        before = len(screen.seen)
        until(lambda: len(re.findall("\x1b\\[1;1H", screen.read())) > 20, "the clock goes")
        frames = len(re.findall("\x1b\\[1;1H", screen.seen[before:]))
        self.assertLess(len(screen.seen[before:].encode()), 4096 * frames)

    def test_goes_on_when_the_daemon_is_back(self):
        screen = self.open_screen()
        [daemon] = self.processes
        daemon.kill()
        until(lambda: re.search(r"^no answer from ipc://\S+ since \d+ s", screen.text()), "it says that no answer comes")
        self.assertIn("0 waiting", screen.text(), "what was so last is still there")
        self.start_daemon()
        with self.peer() as client:
            client.submit(generate())
        until(lambda: "1 waiting" in screen.text() and "no answer" not in screen.text(), "it shows the daemon again")
        self.assertIsNone(screen.child.poll())

    def test_waits_for_a_daemon_that_is_not_there_yet(self):
        self.processes[0].kill()
        screen = Screen(self.jobs_url)
        self.addCleanup(screen.close)
        until(lambda: "no answer from" in screen.text(), "it says that no answer comes")
        self.start_daemon()
        until(lambda: "0 waiting" in screen.text(), "it shows the queue")

    def test_colours_go_where_they_are_wanted(self):
        def colours(screen):
            until(lambda: "queue" in screen.text(), "the queue is shown")
            return re.findall("\x1b\\[[0-9]*m", screen.read())

        self.assertTrue(colours(self.open_screen()))
        self.assertFalse(colours(self.open_screen("--no-color")))
        self.assertFalse(colours(self.open_screen(NO_COLOR="1")))

    def test_without_utf8_it_draws_in_ascii(self):
        with FakeWorker(self.workers_url) as worker:
            worker.hello()
            screen = self.open_screen(LC_ALL="C")
            until(lambda: "....  plan 0 of fake" in screen.text(), "the layers are shown")
            self.assertTrue(screen.read().isascii())

    def test_once_is_plain_text_as_is_a_pipe(self):
        with self.peer() as client:
            client.submit(generate())
        for arguments in (["--once"], []):
            text = self.ctl_ok("top", *arguments)
            self.assertNotIn("\x1b", text)
            self.assertRegex(text, r"(?s)^dslad \S+ +at ipc.*queue  open  1 waiting  0 running.*oldest waits.*policy ")

    def test_once_without_a_daemon_fails_as_every_verb(self):
        self.processes[0].kill()
        done = self.ctl("top", "--once")
        self.assertEqual(3, done.returncode)
        self.assertIn("is dslad running?", done.stderr)

    def test_json_is_an_object_a_look_also_while_the_daemon_is_away(self):
        once = self.ctl_ok("top", "--json", "--once")
        self.assertEqual(1, once.count("\n"))
        self.assertEqual(0, json.loads(once)["status"]["jobs"]["queued"])
        child = subprocess.Popen([str(BIN / "dslactl"), "top", "--json", "--interval", "0.1"], stdout=subprocess.PIPE,
                                 env={**os.environ, "DSLAD_CONNECT": self.jobs_url}, encoding="utf-8")
        self.addCleanup(child.stdout.close)
        self.addCleanup(child.kill)
        looks = (json.loads(line) for line in child.stdout)
        self.assertNotIn("error", next(looks))
        self.assertIn("jobs_per_s", next(looks)["rates"])
        self.processes[0].kill()
        away = next(look for look in looks if "error" in look)
        self.assertIn("status", away)
        self.start_daemon()
        next(look for look in looks if "error" not in look)
        child.terminate()
        self.assertEqual(130, child.wait(60))


if __name__ == "__main__":
    unittest.main()
