"""dslactl on its own: what it says and how it exits where the command line, a file or the connection is wrong."""

import grp
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import unittest

import wire
import zmq
from harness import BIN, PATIENCE, SystemTest, until

USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 2, 3, 4, 130


def catches(child, number):
    """Whether the process has a handler of its own for the signal."""
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    [caught] = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return int(caught, 16) >> (number - 1) & 1


class CtlTest(SystemTest):
    def refused(self, status, *arguments, says, **others):
        """Checks the exit status, and that standard error, in one line, names each of `says`."""
        done = self.ctl(*arguments, **others)
        self.assertEqual(status, done.returncode, done.stderr)
        self.assertEqual("", done.stdout)
        self.assertEqual(1, done.stderr.count("\n"), done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)


class CtlUsage(CtlTest):
    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def test_help_of_every_verb_exits_with_0_and_shows_its_options(self):
        for verb in ("submit", "status", "list", "wait", "result", "watch", "cancel", "layers", "plan", "stats"):
            self.assertIn(verb, self.ctl_ok("--help"))
            self.assertIn("Usage: dslactl", self.ctl_ok(verb, "--help"))
        self.assertIn("--idempotency-key", self.ctl_ok("submit", "summarize", "--help"))
        self.assertIn("Examples:", self.ctl_ok("submit", "--help"))

    def test_a_misspelt_verb_or_option_is_named(self):
        self.refused(USAGE, "sumbit", says=["sumbit", "--help"])
        self.refused(USAGE, "submit", "sumarize", "x", says=["sumarize"])
        self.refused(USAGE, "status", "--jsno", says=["--jsno"])
        self.refused(USAGE, says=["--help"])
        self.refused(USAGE, "wait", "first", says=["first"])
        self.refused(USAGE, "wait", "1", "--timeout", "-3", says=["timeout"])
        self.refused(USAGE, "submit", "generate", "--prompt", "x", "--expires-in", "0", says=["expires-in"])
        self.refused(USAGE, "list", "--state", "done", says=["done", "succeeded"])

    @unittest.skipIf(os.geteuid() != 0, "only root can be somebody else")
    def test_a_socket_that_is_closed_to_the_user_names_the_group_that_it_is_open_to(self):
        self.start_daemon()
        os.chmod(self.folder, 0o755)
        program = shutil.copy(BIN / "dslactl", self.folder)
        group = grp.getgrgid(os.stat(self.jobs_url.removeprefix("ipc://")).st_gid).gr_name
        done = subprocess.run([program, "--connect", self.jobs_url, "status"], user=65534, group=65534, extra_groups=[],
                              capture_output=True, text=True, timeout=PATIENCE, env=self.environment_of_another_user())
        self.assertEqual(UNREACHABLE, done.returncode, done.stderr)
        self.assertIn(f"is open to members of the group {group} and not to you", done.stderr)
        self.assertNotIn("is dslad running", done.stderr)

    def test_an_unreadable_file_is_named_with_the_reason(self):
        self.refused(USAGE, "submit", "summarize", self.folder / "absent.txt",
                     says=["absent.txt", "No such file or directory"])
        self.refused(USAGE, "submit", "qa", "--document", self.folder, "--question", "Who?",
                     says=[str(self.folder), "Is a directory"])

    def test_bytes_that_are_no_utf8_are_named_with_their_offset(self):
        latin1 = self.file("latin1.txt", "Grüße\nCafé\n".encode()[:10] + b"caf\xe9\n")
        self.refused(USAGE, "submit", "summarize", latin1, says=["latin1.txt", "0xE9", "offset 13", "line 2", "iconv"])
        cut = self.file("cut.txt", "ends in the midst of €".encode()[:-1])
        self.refused(USAGE, "submit", "summarize", cut, says=["cut.txt", "offset 21"])

    def test_an_empty_document_is_refused(self):
        self.refused(USAGE, "submit", "summarize", self.file("empty.txt", b""), says=["empty.txt", "empty"])
        self.refused(USAGE, "submit", "summarize", self.file("blank.txt", b" \n\t\n"), says=["blank.txt", "empty"])
        self.refused(USAGE, "submit", "summarize", "-", stdin="", says=["standard input", "empty"])
        self.refused(USAGE, "submit", "generate", "--prompt", "", says=["prompt", "empty"])

    def test_a_document_above_the_bound_is_refused_before_anything_is_sent(self):
        huge = self.file("huge.txt", b"x" * ((8 << 20) + 1))
        self.refused(USAGE, "submit", "summarize", huge, says=["huge.txt", str(8 << 20), "split"])

    def test_standard_input_can_be_named_once(self):
        self.refused(USAGE, "submit", "summarize", "-", "-", stdin="text", says=["standard input", "once"])

    def test_values_out_of_bounds_are_named(self):
        for option, value in (("--max-tokens", "0"), ("--temperature", "-1"), ("--top-p", "0"), ("--top-p", "1.5"),
                              ("--priority", "9999999")):
            self.refused(USAGE, "submit", "generate", "--prompt", "x", option, value, says=[value])

    def test_output_that_cannot_be_written_is_an_error(self):
        self.start_daemon()
        with open("/dev/full", "w") as full:
            done = subprocess.run([str(BIN / "dslactl"), "status"], stdout=full, stderr=subprocess.PIPE, text=True,
                                  env={**os.environ, "DSLAD_CONNECT": self.jobs_url})
        self.assertEqual(USAGE, done.returncode)
        self.assertIn("No space left on device", done.stderr)

    def test_a_daemon_that_has_just_been_started_is_waited_for(self):
        self.start_daemon(ready=False)
        self.ctl_ok("status")

    def test_an_absent_daemon_is_found_out_soon_and_named(self):
        patient = ("--rpc-timeout", "86400")  # were it waited for, the test would hang
        self.refused(UNREACHABLE, "status", *patient, says=[self.jobs_url, "is dslad running?", "--connect"])
        self.refused(UNREACHABLE, "submit", "generate", "--prompt", "x", *patient, says=[self.jobs_url])

    def test_ctrl_c_ends_a_watch_that_waits_for_a_daemon_to_listen(self):
        def interrupted():
            """Whether it was: dslactl may have given up before the signal came."""
            child = subprocess.Popen([str(BIN / "dslactl"), "watch", "--connect", self.jobs_url], stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            until(lambda: child.poll() is not None or catches(child, signal.SIGINT), "the signal is caught")
            child.send_signal(signal.SIGINT)
            said, _ = child.communicate(timeout=PATIENCE)
            return (child.returncode, said) == (INTERRUPTED, "")

        until(interrupted, "a watch ends with Ctrl-C")

    def test_a_stale_socket_file_counts_as_an_absent_daemon(self):
        with socket.socket(socket.AF_UNIX) as abandoned:
            abandoned.bind(f"{self.folder}/jobs.sock")
        self.refused(UNREACHABLE, "status", says=["Connection refused", "is dslad running?"])

    def test_a_remote_daemon_that_stays_silent_is_given_up_after_the_rpc_timeout(self):
        for key in ("server", "mine"):
            self.ctl_ok("keygen", self.folder / key)
        keys = ("--server-key", self.folder / "server.pub", "--key", self.folder / "mine")
        for verb in (("status",), ("plan", "show"), ("plan", "set", "1")):
            self.refused(UNREACHABLE, *verb, *keys, "--rpc-timeout", "0.3", url="tcp://127.0.0.1:9",
                         says=["tcp://127.0.0.1:9", str(self.folder / "mine"), "is dslad running?"])

    def test_the_option_outranks_the_variable_and_bad_urls_are_named(self):
        self.refused(UNREACHABLE, "status", "--connect", f"ipc://{self.folder}/other.sock", says=["other.sock"])
        self.refused(USAGE, "status", "--connect", "nonsense", says=["nonsense", "ipc://"])
        self.refused(USAGE, "status", "--connect", "ipc://" + "/long" * 30, says=["107 bytes"])


class Impostor(CtlTest):
    """Something else listens where the daemon should."""

    def setUp(self):
        super().setUp()
        self.router = zmq.Context.instance().socket(zmq.ROUTER)
        self.router.bind(self.jobs_url)
        self.addCleanup(self.router.close, 0)

    def answer(self, *frames):
        def serve():
            peer, _ = self.router.recv_multipart()
            for frame in frames:
                self.router.send_multipart([peer, frame])

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)

    def test_silence_is_given_up_after_the_rpc_timeout(self):
        self.refused(UNREACHABLE, "status", "--rpc-timeout", "0.3", says=["no answer", self.jobs_url])

    def test_ctrl_c_ends_a_watch_that_waits_for_an_answer(self):
        self.router.rcvtimeo = int(1000 * PATIENCE)
        child = subprocess.Popen([str(BIN / "dslactl"), "watch", "--connect", self.jobs_url, "--rpc-timeout", "86400"],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(child.kill)
        self.router.recv_multipart()
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=PATIENCE)
        self.assertEqual((INTERRUPTED, ""), (child.returncode, said))

    def test_answers_that_are_not_of_the_protocol_are_named(self):
        self.answer(b"HTTP/1.1 400 Bad Request\r\n")
        self.refused(REFUSED, "status", says=["protocol", self.jobs_url])

    def test_another_version_of_the_protocol_is_named(self):
        self.answer(wire.pack("daemon_status", {}, 1, version=2))
        self.refused(REFUSED, "status", says=["version 2", "of one version"])

    def test_answers_to_other_requests_are_passed_over(self):
        self.answer(wire.pack("pong", {}, 77), wire.pack("daemon_status", {"version": "9.9"}, 1))
        self.assertIn("dslad 9.9", self.ctl_ok("status"))


if __name__ == "__main__":
    unittest.main()
