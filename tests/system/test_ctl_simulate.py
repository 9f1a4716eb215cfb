"""dslactl policy simulate, on a fake daemon's workers: tables, JSON, and what is wrong with a trace."""

import unittest

from ctl_case import REFUSED, UNREACHABLE, USAGE, PolicyTest

MINUTE = 60_000


class Simulate(PolicyTest):
    """A worker of four layers; 1,000 tokens take a second on plan 0 and half of it on plan 4."""

    WORKER = {"name": "host:17:cpu", "instance": "i1", "device": "cpu", "model": "demo", "model_digest": "3f2a91b0c4de7788",
              "dtype": "f32", "capacity": 8, "layers": 4, "context": 8192, "cache_bytes": 0,
              "plans": [{"plan": 0, "quality": 1.0, "kv_bytes_per_token": 4}, {"plan": 4, "quality": 0.98, "state_bytes": 9}]}
    MODEL = {"workers": "demo 3f2a91b0c4de f32 cpu host", "jobs": 50, "error_p50": 0.0, "error_p90": 0.0,
             "bytes_per_token": 4.0, "output_share": 0.5, "coefficients": [0.5, 0.0005, 0, 0, 0, 0, 0]}
    OWN = {"policy": "deadline", "static_plan": 4, "min_quality": 0.95, "target_drain_ms": MINUTE, "dwell_ms": 10_000}

    def setUp(self):
        super().setUp()
        self.daemon_has()

    def daemon_has(self, workers=(WORKER,), models=(MODEL,), **own):
        self.daemon.answers["status"] = ("daemon_status", {"workers": list(workers)})
        self.daemon.answers["policy_show"] = ("policy_reply", {**self.OWN, "cost_models": list(models), **own})

    def trace(self, rows, header="arrived_s,bytes,max_tokens"):
        file = self.folder / "trace.csv"
        file.write_text("\n".join((header, *rows)) + "\n")
        return str(file)

    def outcomes(self, *arguments):
        return {one["policy"]: one for one in self.json_of("policy", "simulate", *arguments)["policies"]}

    def test_the_daemons_own_policy_is_compared_with_plan_0(self):
        trace = self.trace(["0,4000,10"] * 100)
        out = self.says("policy", "simulate", trace, lines=[
            r"POLICY +JOBS +MAKESPAN +P50 +P95 +P99 +QUALITY +CHANGES/H",
            r"deadline +100 .* 9[89]\.\d\d% +\d+\.\d", r"static:0 +100 +1 min 40 s .* 100\.00% +0\.0",
            r"simulated 2 min \d\d s of a worker in \d+ ms|simulated .* s"])
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        self.assertEqual(["policy_show", "status"], [request.kind for request in self.daemon.requests])
        found = self.outcomes(trace)
        self.assertEqual(["deadline", "static:0"], list(found))
        self.assertAlmostEqual(100_000, found["static:0"]["makespan_ms"], delta=1)
        self.assertLessEqual(found["deadline"]["makespan_ms"], 63_000)  # jobs that share the worker end a little later
        self.assertLess(found["deadline"]["quality"], 1)
        self.assertGreaterEqual(found["deadline"]["took_ms"], 0)

    def test_other_policies_can_be_named_and_the_daemons_settings_bind_them(self):
        trace = self.trace(["0,4000,10"] * 10)
        found = self.outcomes(trace, "--policy", "static:4", "--policy", "threshold", "--policy=static:0", "--policy", "static")
        self.assertEqual(["static:4", "threshold", "static:0", "static:4"],
                         [one["policy"] for one in self.json_of("policy", "simulate", trace, "--policy", "static:4", "--policy",
                                                                "threshold", "--policy=static:0", "--policy",
                                                                "static")["policies"]])
        self.assertAlmostEqual(5_000, found["static:4"]["makespan_ms"], delta=1)
        self.assertAlmostEqual(0.98, found["static:4"]["quality"])
        self.daemon_has(min_quality=0.99)  # no plan but 0 is good enough
        self.assertAlmostEqual(10_000, self.outcomes(trace, "--policy", "static:4")["static:4"]["makespan_ms"], delta=1)
        self.daemon_has(policy="manual", plan=4, min_quality=0.99)
        self.assertAlmostEqual(5_000, self.outcomes(trace)["manual"]["makespan_ms"], delta=1)
        self.daemon_has(policy="static", static_plan=0)
        self.assertEqual(["static:0"], list(self.outcomes(trace)))

    def test_the_daemons_own_times_of_the_threshold_are_taken(self):
        trace = self.trace(["0,4000,10"] * 100)  # so many that the threshold moves, to three quarters of the layers
        worker = {**self.WORKER, "plans": [self.WORKER["plans"][0], {"plan": 3, "quality": 0.98, "state_bytes": 9}]}
        took = {}
        for own in ({}, {"threshold_check_ms": 5_000, "threshold_cooldown_ms": 60_000},
                    {"threshold_check_ms": 100, "threshold_cooldown_ms": 200}):  # fmt: skip
            self.daemon_has(workers=(worker,), **own)
            took[own.get("threshold_check_ms")] = self.outcomes(trace, "--policy", "threshold")["threshold"]["makespan_ms"]
        self.assertEqual(took[None], took[5_000], "an older daemon does not say")
        self.assertLess(took[100], 0.8 * took[5_000])

    def test_terms_of_the_trace_count(self):
        header = "arrived_s,bytes,max_tokens,deadline_s,max_plan"
        self.assertEqual(0, self.outcomes(self.trace(["0,4000,10,0.6,"], header))["deadline"]["missed"])
        found = self.outcomes(self.trace(["0,4000,10,0.6,0", "5,4000,10,,"], header))["deadline"]
        self.assertEqual((1, 1, 1), (found["missed"], found["with_deadline"], found["quality"]))
        self.says("policy", "simulate", self.trace(["0,4000,10,0.6,0"], header),
                  lines=[r"POLICY .* LATE .*", r"deadline .* 1 of 1 .*"])

    def test_published_traces_their_speed_and_their_beginning(self):
        rows = [f"2023-11-16 18:17:0{second}.9799600,1000,10" for second in range(0, 8, 2)]
        trace = self.trace(rows, "TIMESTAMP,ContextTokens,GeneratedTokens")
        fixed = ("--policy", "static:0")
        self.assertAlmostEqual(7_000, self.outcomes(trace, *fixed)["static:0"]["makespan_ms"], delta=1)
        self.assertAlmostEqual(4_000, self.outcomes(trace, *fixed, "--speed", "1000")["static:0"]["makespan_ms"], delta=10)
        self.assertEqual(2, self.outcomes(trace, *fixed, "--limit", "2")["static:0"]["jobs"])
        text = (self.folder / "trace.csv").read_text()
        self.assertIn("static:0", self.ctl_ok("policy", "simulate", "-", *fixed, stdin=text))

    def test_what_is_left_out_is_said(self):
        other = {**self.WORKER, "name": "host:18:gpu", "instance": "i2", "model_digest": "other"}
        like = {**self.WORKER, "name": "far:1:cpu", "instance": "i3"}  # another host, the same model
        self.daemon_has([self.WORKER, other, like, {**self.WORKER, "name": "stops:1:cpu", "capacity": 0}])
        trace = self.trace(["0,4000,10", "0,40000,10"])
        self.says("policy", "simulate", trace, lines=[
            "simulated .* of 2 workers in .*", "left out: 1 of 2 jobs, which no worker's context takes",
            "left out: worker host:18:gpu, of whose speed nothing is known yet"])
        report = self.json_of("policy", "simulate", trace)
        self.assertEqual((2, 1, ["host:17:cpu", "far:1:cpu"], ["host:18:gpu"]),
                         tuple(report[key] for key in ("jobs", "too_large", "workers", "left_out")))

    def test_jobs_go_to_workers_of_the_model_that_they_name(self):
        slow = {**self.WORKER, "name": "host:18:cpu", "instance": "i2", "model": "large", "model_digest": "other", "context": 4096}
        speeds = {**self.MODEL, "workers": "large other f32 cpu host", "coefficients": [1.5 * x for x in self.MODEL["coefficients"]]}
        self.daemon_has([self.WORKER, slow], models=(self.MODEL, speeds))
        header = "arrived_s,bytes,max_tokens,model"
        fixed = ("--policy", "static:0")
        alone = self.outcomes(self.trace([f"0,4000,10,{self.WORKER['model']}"] * 4, header), *fixed)["static:0"]["makespan_ms"]
        slower = self.outcomes(self.trace(["0,4000,10,other"] * 4, header), *fixed)["static:0"]["makespan_ms"]
        self.assertAlmostEqual(1.5, slower / alone, delta=0.01)
        either = self.outcomes(self.trace(["0,4000,10,"] * 4, header), *fixed)["static:0"]["makespan_ms"]
        self.assertLess(either, alone)
        trace = self.trace(["0,4000,10,large", "0,20000,10,large", "0,4000,10,absent"], header)
        self.says("policy", "simulate", trace, lines=[
            "left out: 1 of 3 jobs, whose model no worker serves", "left out: 1 of 3 jobs, which no worker's context takes"])
        self.refused(REFUSED, "policy", "simulate", self.trace(["0,4000,10,absent"], header), says=["'absent'", "leave the column"])

    def test_a_daemon_that_nothing_can_be_simulated_of_says_what_to_do(self):
        trace = self.trace(["0,4000,10"])
        self.daemon_has(workers=())
        self.refused(REFUSED, "policy", "simulate", trace, says=["no worker", "start dslad-worker"])
        for models in ((), ({**self.MODEL, "jobs": 0},), ({**self.MODEL, "coefficients": [0] * 7},)):
            self.daemon_has(models=models)
            self.refused(REFUSED, "policy", "simulate", trace, says=["speed", "none of their jobs has ended", "submit some"])
        self.daemon_has()
        self.refused(REFUSED, "policy", "simulate", self.trace(["0,400000,10"]), says=["no job", "8192 tokens"])
        self.refused(UNREACHABLE, "policy", "simulate", trace, says=["absent.sock"], url=f"ipc://{self.folder}/absent.sock")

    def test_wrong_input_names_file_line_value_and_remedy_and_nobody_is_asked(self):
        trace = self.trace(["0,4000,10", "1,many,10"])
        self.refused(USAGE, "policy", "simulate", trace, says=["trace.csv', line 3", "bytes is 'many'", "whole number"])
        trace = self.trace(["0,4000,10"])
        for options, says in (
            ((), ["TRACE"]),
            (("/absent.csv",), ["/absent.csv", "No such file"]),
            ((trace, "--policy", "fast"), ["fast", "deadline, threshold and static:N"]),
            ((trace, "--policy", "manual"), ["manual", "static:N"]),
            ((trace, "--policy", "static:x"), ["static:x", "0 to 1024"]),
            ((trace, "--policy", "deadline:4"), ["deadline:4"]),
            ((trace, "--speed", "0"), ["--speed", "0"]),
            ((trace, "--limit", "0"), ["--limit", "0"]),
        ):
            with self.subTest(options=options):
                self.refused(USAGE, "policy", "simulate", *options, says=says)
        self.assertEqual([], self.daemon.requests)

    def test_help_has_the_format(self):
        self.assertIn("arrived_s", self.ctl_ok("policy", "simulate", "--help"))


if __name__ == "__main__":
    unittest.main()
