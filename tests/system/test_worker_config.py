"""dslad-worker's configuration file: what it takes, what it refuses and how it says so."""

import signal
import subprocess
import unittest

from harness import BIN, MODEL, SystemTest, until


class WorkerConfig(SystemTest):
    def check(self, text, *options):
        file = self.folder / "worker.toml"
        file.write_text(text)
        return subprocess.run([BIN / "dslad-worker", "--config", file, "--check-config", *options],
                              capture_output=True, text=True)

    def assert_refused(self, text, message, *options):
        done = self.check(text, *options)
        self.assertEqual(2, done.returncode, done.stderr)
        self.assertIn(message, done.stderr)

    def test_takes_every_option_by_its_name_with_underscores(self):
        done = self.check('model = "a"\ndtype = "f32"\ndrain_s = 3\ndistil_text = ["a", "b"]\ndistil_eval = ["c"]\n'
                          "distil_min_quality = 0.5\ncache_mib = 1\n")
        self.assertEqual((0, "ok\n", ""), (done.returncode, done.stdout, done.stderr))

    def test_names_file_and_line_of_what_is_wrong(self):
        self.assert_refused('model = "a"\n\nthread = 3\n', "worker.toml:3: unknown key 'thread'; did you mean 'threads'?")
        self.assert_refused('model = "a"\nthreads = 5000\n', "worker.toml:2: --threads: ")
        self.assert_refused('model = "a"\nthreads = "many"\n', "worker.toml:2: ")
        self.assert_refused('dtype = "int3"\nmodel = "a"\n', "worker.toml:1: --dtype: ")
        self.assert_refused('model = "a\n', "worker.toml:1: ")
        self.assert_refused('model = "a"\n[idle]\ncpus = 1\n', "worker.toml:3: unknown key 'idle.cpus'; did you mean 'idle_cpus'?")
        self.assert_refused('model = "a"\nconfig = "b"\n', "unknown key 'config'")
        self.assert_refused('model = "a"\nhelp = true\n', "unknown key 'help'")
        self.assert_refused("threads = 1\n", "--model is required")
        self.assert_refused('model = "a"\ndistil_text = ["b"]\n', "--distil-eval")

    def test_a_file_that_is_not_there_is_named(self):
        done = subprocess.run([BIN / "dslad-worker", "--config", self.folder / "none.toml"], capture_output=True, text=True)
        self.assertEqual(2, done.returncode)
        self.assertIn("none.toml", done.stderr)

    def test_the_command_line_wins(self):
        self.assertEqual(0, self.check('model = "a"\nthreads = 5000\n', "--threads", "2").returncode)

    def test_a_worker_runs_from_its_file_and_a_hangup_does_not_end_it(self):
        self.start_daemon()
        file = self.folder / "worker.toml"
        file.write_text(f'model = "{MODEL}"\nconnect = "{self.workers_url}"\nthreads = 1\ncache_mib = 64\n')
        worker = self.start("worker", BIN / "dslad-worker", "--config", file)
        with self.peer() as client:
            until(lambda: client.request("status")["workers"], "it has connected")
            worker.signal(signal.SIGHUP)
            until(lambda: "no setting of a worker changes while it runs" in worker.text(), "it says so")
            self.assertTrue(worker.alive())


if __name__ == "__main__":
    unittest.main()
