"""A real worker that distils in idle time, and a daemon that does what the test says: what runs when, with what rights,
and what remains of it when something is killed.

Where the work itself does not matter a script takes dslad-model's place, beside a link to the worker."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import unittest

import harness
from distil_case import STORY
from harness import until
from idle_case import BAD, LONG, NO_LIMIT, QUICK, TOOL, ScriptCase, ToolCase, state_of, status_of


class WithAScript(ScriptCase):
    """Processes, signals and failures, whatever the child does."""

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


class WithTheTool(ToolCase):
    """Chains that grow, in the end."""

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
