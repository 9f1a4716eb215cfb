"""dslactl about deadlines, floors and the policy, before a daemon that answers what the test says: what is sent for each
option, what is printed, JSON, errors."""

import contextlib
import fcntl
import json
import os
import pty
import pwd
import struct
import subprocess
import termios
import time
import unittest

import wire
from ctl_case import REFUSED, UNREACHABLE, USAGE, PolicyTest
from harness import BIN, PATIENCE

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def soon(ms):
    """A moment from now; its seconds do not depend on how fast the test is."""
    return int(time.time() * 1000) + ms + 1500


class SubmitTerms(PolicyTest):
    def setUp(self):
        super().setUp()
        self.daemon.answers["submit"] = ("submitted", {"ids": [7], "duplicates": [False], "finish_ms": [0]})

    def submitted(self, *options, **others):
        """What is sent of the one job."""
        self.ctl_ok("submit", "generate", "--prompt", "Once", *options, **others)
        [job] = self.daemon.last("submit")["jobs"]
        return job

    def test_each_option_goes_out_as_the_protocol_says(self):
        for options, key, value in (
            (("--deadline", "90"), "deadline_in_ms", 90_000),
            (("--deadline", "90s"), "deadline_in_ms", 90_000),
            (("--deadline", "10m"), "deadline_in_ms", 10 * MINUTE),
            (("--deadline", "1h30m"), "deadline_in_ms", 90 * MINUTE),
            (("--deadline=1d",), "deadline_in_ms", DAY),
            (("--min-quality", "0.98"), "min_quality", 0.98),
            (("--min-quality", "98%"), "min_quality", 0.98),
            (("--min-quality", "0"), "min_quality", 0),
            (("--max-plan", "3"), "max_plan", 3),
            (("--exact",), "max_plan", 0),
            (("--best-effort",), "best_effort", True),
            (("--model", "demo"), "model", "demo"),
            (("--expires-in", "90"), "expires_in_ms", 90_000),
            (("--expires-in", "0.25"), "expires_in_ms", 250),
            (("--expires-in", "2h"), "expires_in_ms", 2 * HOUR),
        ):
            with self.subTest(options=options):
                self.assertAlmostEqual(value, self.submitted(*options)[key], delta=1e-12)

    def test_without_options_a_job_has_no_terms(self):
        job = self.submitted()
        self.assertEqual((0, 0, "", False), tuple(job[key] for key in ("deadline_in_ms", "expires_in_ms", "model", "best_effort")))
        self.assertIsNone(job.get("min_quality"))
        self.assertIsNone(job.get("max_plan"))

    def test_the_client_is_the_option_or_the_variable_or_the_user(self):
        def client(*options, **env):
            self.submitted(*options, env=env)
            return self.daemon.last("submit")["client"]

        self.assertEqual("night", client("--client", "night", DSLAD_CLIENT="day"))
        self.assertEqual("", client("--client", "", DSLAD_CLIENT="day"))
        self.assertEqual("day", client(DSLAD_CLIENT="day"))
        self.assertEqual(pwd.getpwuid(os.getuid()).pw_name, client(DSLAD_CLIENT=""))

    def test_all_jobs_of_several_files_have_the_terms(self):
        files = [self.folder / f"{n}.txt" for n in range(3)]
        for file in files:
            file.write_text("A document.")
        self.daemon.answers["submit"] = ("submitted", {"ids": [1, 2, 3], "duplicates": [False] * 3, "finish_ms": [0] * 3})
        self.ctl_ok("submit", "summarize", *files, "--deadline", "1h", "--exact")
        jobs = self.daemon.last("submit")["jobs"]
        self.assertEqual([(HOUR, 0)] * 3, [(job["deadline_in_ms"], job["max_plan"]) for job in jobs])

    def test_the_predicted_end_is_printed_beside_the_file(self):
        (self.folder / "report.txt").write_text("A document.")
        self.daemon.answers["submit"] = ("submitted", {"ids": [7], "duplicates": [False], "finish_ms": [soon(2 * MINUTE)]})
        self.says("submit", "summarize", self.folder / "report.txt",
                  lines=[r"job 7  .*report\.txt  done about (\S+ )?\d\d:\d\d:\d\d \(in 2 min\)"])

    def test_each_job_has_its_own_predicted_end(self):
        files = [self.folder / f"{n}.txt" for n in range(3)]
        for file in files:
            file.write_text("A document.")
        self.daemon.answers["submit"] = ("submitted", {"ids": [1, 2, 3], "duplicates": [False, True, False],
                                                       "finish_ms": [soon(MINUTE), 0, soon(3 * HOUR)]})
        self.says("submit", "summarize", *files,
                  lines=[r"job 1 .*\(in 1 min\)", r"job 2  \S*1\.txt  \(known by its idempotency key\)", r"job 3 .*\(in 3 h\)"])
        keys = [list(json.loads(line)) for line in self.ctl_ok("submit", "summarize", *files, "--json").splitlines()]
        self.assertEqual([["id", "finish_ms"], ["id", "duplicate"], ["id", "finish_ms"]], keys)

    def test_an_older_daemon_that_predicts_nothing_is_understood(self):
        self.daemon.answers["submit"] = ("submitted", {"ids": [7], "duplicates": [False]})
        self.assertEqual("job 7\n", self.ctl_ok("submit", "generate", "--prompt", "Once"))

    def test_a_deadline_that_cannot_be_met_is_a_refusal(self):
        self.daemon.refuse("submit", wire.REFUSED, "its deadline is in 1000 ms and the earliest is in about 9000 ms")
        self.refused(REFUSED, "submit", "generate", "--prompt", "x", "--deadline", "1s", says=["9000 ms"])

    def test_wrong_values_are_named_with_the_remedy_and_nothing_is_sent(self):
        job = ("submit", "generate", "--prompt", "x")
        for options, says in (
            (("--deadline", "soon"), ["--deadline", "'soon'", "90s, 10m"]),
            (("--deadline", "10 m"), ["--deadline", "'10 m'"]),
            (("--deadline", "0"), ["--deadline", "'0' is too short", "1 ms"]),
            (("--deadline", "-5"), ["--deadline", "'-5'", "negative"]),
            (("--deadline", "11y"), ["--deadline", "'11y'"]),
            (("--deadline", "5000d"), ["--deadline", "ten years"]),
            (("--expires-in", "0"), ["--expires-in", "too short"]),
            (("--expires-in", "nan"), ["--expires-in", "'nan'"]),
            (("--min-quality", "98"), ["--min-quality", "0.98 or 98%"]),
            (("--min-quality", "good"), ["--min-quality", "'good'", "98%"]),
            (("--max-plan", "-1"), ["--max-plan", "-1"]),
            (("--max-plan", "5000"), ["--max-plan", "5000", "1024"]),
            (("--exact", "--max-plan", "0"), ["--exact", "--max-plan"]),
            (("--model", "x" * 1025), ["--model", "1025", "1024"]),
            (("--client", "x" * 1025), ["--client", "1025", "1024"]),
        ):
            with self.subTest(options=options):
                self.refused(USAGE, *job, *options, says=says)
        self.refused(USAGE, *job, "--client", os.fsdecode(b"caf\xe9"), says=["--client", "UTF-8"])
        self.refused(USAGE, *job, says=["DSLAD_CLIENT", "1025"], env={"DSLAD_CLIENT": "x" * 1025})
        self.assertEqual([], self.daemon.requests)


class Overviews(PolicyTest):
    WORKER = {"name": "host:17:cpu", "device": "cpu", "model": "demo", "dtype": "f32", "plan": 4, "capacity": 8,
              "running": 5, "begun": 3, "last_seen_ms": 820, "edition": "3f2a91b0c4de7788", "layers": 6,
              "plans": [{"plan": 0, "quality": 1.0}, {"plan": 4, "quality": 0.981}]}

    def status_is(self, **members):
        self.daemon.answers["status"] = ("daemon_status", {
            "version": "1.0", "uptime_ms": 5000, "jobs": {"queued": 12, "running": 5}, "plan": 4, "policy": "deadline",
            "drain_ms": 187_000, "waiting_tokens": 34_567, "workers": [self.WORKER], **members})

    def jobs_are(self, *jobs):
        now = int(time.time() * 1000)
        base = {"task": "summarize", "state": "queued", "max_attempts": 3, "created_ms": now}
        self.daemon.answers["list"] = ("job_list", {"jobs": [{**base, **job} for job in jobs], "more": False})

    def test_status_tells_policy_plan_and_load(self):
        self.status_is()
        out = self.says("status", lines=["plan: 4 in force, policy deadline",
                                         "load: about 34,567 prompt tokens wait, all done in about 3 min 10 s",
                                         r"WORKER  .*PLAN  EDITION       RUNNING  BEGUN  SEEN AGO",
                                         r"host:17:cpu .* 4  3f2a91b0c4de  +5/8 +3 +820 ms"])
        self.assertLessEqual(max(map(len, out.splitlines())), 100)
        self.assertEqual(("deadline", 187_000, 34_567),
                         tuple(self.json_of("status")[key] for key in ("policy", "drain_ms", "waiting_tokens")))

    def test_status_of_an_idle_daemon_has_no_load_and_of_an_unknown_one_says_so(self):
        self.status_is(jobs={"succeeded": 3}, drain_ms=0, waiting_tokens=0)
        self.assertNotIn("load", self.ctl_ok("status"))
        self.status_is(drain_ms=0, waiting_tokens=0)
        self.says("status", lines=["load: how long it takes is not known yet"])

    def test_status_of_jobs_tells_state_place_predicted_end_plan_and_worker(self):
        def job(request):
            base = {"id": request["id"], "task": "summarize", "max_attempts": 3, "created_ms": 1}
            return "job_info", base | {
                1: {"state": "running", "worker": "host:17:cpu", "finish_ms": soon(MINUTE),
                    "progress": {"phase": "decode", "tokens_out": 12}},
                2: {"state": "queued", "place": 5, "finish_ms": soon(HOUR), "deadline_ms": soon(MINUTE)},
                3: {"state": "failed", "worker": "host:17:cpu", "ended_ms": soon(0), "error": {"code": 7, "message": "bad"}},
            }[request["id"]]

        def verdict(request):
            return "job_verdict", {"id": request["id"], "state": "queued", "why": "because"} | {
                1: {"plan": 4, "quality": 0.981}, 2: {"plan": 0}, 3: {}}[request["id"]]

        self.daemon.answers |= {"job": job, "policy_explain": verdict}
        time_of_day = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
        self.says("status", "2", "1", "3", lines=[
            r" *ID +STATE +PLACE +DONE ABOUT +ENDED +DEADLINE +PLAN +WORKER +NOTE",
            rf" *2 +queued +5 +{time_of_day} +{time_of_day} late +0",
            rf" *1 +running +{time_of_day} +4 \(98\.1%\) +host:17:cpu +decode +12 tokens written",
            rf" *3 +failed +{time_of_day} +host:17:cpu +bad"])
        lines = [json.loads(line) for line in self.ctl_ok("status", "--json", "1", "3").splitlines()]
        self.assertEqual([(1, "running", 4, 0.981, "because", "host:17:cpu"), (3, "failed", None, None, "because", "host:17:cpu")],
                         [tuple(line.get(key) for key in ("id", "state", "plan", "quality", "why", "worker")) for line in lines])

    def test_status_of_an_unknown_job_and_a_wrong_id(self):
        self.daemon.answers["job"] = ("error", {"code": 2, "message": "there is no job 17"})
        self.refused(REFUSED, "status", "17", says=["there is no job 17"])
        self.refused(USAGE, "status", "seventeen", says=["JOB"])

    def test_list_tells_place_predicted_end_deadline_and_model(self):
        self.jobs_are({"id": 9, "place": 2, "finish_ms": soon(MINUTE), "deadline_ms": soon(HOUR), "model": "demo"},
                      {"id": 8, "place": 1, "finish_ms": soon(HOUR), "deadline_ms": soon(MINUTE)})
        time_of_day = r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d"
        self.says("list", lines=[r" *ID  .* PLACE  DONE ABOUT +DEADLINE +MODEL",
                                 rf" *9  .* 2  {time_of_day} +{time_of_day} +demo",
                                 rf" *8  .* 1  {time_of_day} +{time_of_day} late"])
        self.assertEqual(2, self.json_of("list")["jobs"][0]["place"])

    def test_an_answer_after_its_deadline_was_late_and_one_before_was_not(self):
        now = int(time.time() * 1000)
        ended = {"state": "succeeded", "started_ms": now - 9000, "deadline_ms": now - 5000}
        self.jobs_are({**ended, "id": 2, "ended_ms": now - 1000}, {**ended, "id": 1, "ended_ms": now - 6000})
        self.says("list", lines=[r" *2  .* late", r" *1  .*:\d\d"])

    def test_a_deadline_that_has_passed_is_late_though_nothing_is_predicted(self):
        self.jobs_are({"id": 1, "deadline_ms": int(time.time() * 1000) - 1000})
        self.says("list", lines=[r" *1  .* late"])

    def test_columns_that_nothing_is_known_for_are_not_shown(self):
        self.jobs_are({"id": 1})
        out = self.ctl_ok("list")
        self.assertEqual(["ID", "TASK", "STATE", "PRIORITY", "ATTEMPT", "ENTERED"], out.splitlines()[0].split())

    def test_tables_of_jobs_with_deadlines_fit_a_hundred_columns(self):
        noon = int(time.time() * 1000) // DAY * DAY + DAY // 2
        self.jobs_are(*({"id": 1000 + n, "place": n, "finish_ms": noon, "deadline_ms": noon - 1000} for n in range(1, 20)))
        self.assertLessEqual(max(map(len, self.ctl_ok("list", env={"TZ": "UTC"}).splitlines())), 100)

    def test_stats_tells_what_was_learnt_of_speeds(self):
        model = {"workers": "demo 3f2a91b0c4de f32 cpu host", "jobs": 1234, "error_p50": 0.071, "error_p90": 0.2345,
                 "bytes_per_token": 3.917, "output_share": 0.8, "batch": 2.5, "coefficients": [0.1, 0.2, 0.3],
                 "plan_speeds": [{"attention": 0.5, "states": 1.0, "prefill": 1.2, "decode": 0.9}]}
        self.daemon.answers["stats"] = ("stats_reply", {"uptime_ms": 1, "cost_models": [model]})
        self.says("stats", lines=[r"SPEED OF +JOBS  ERROR P50  ERROR P90  BYTES/TOKEN",
                                  r"demo 3f2a91b0c4de f32 cpu host  1,234 +7.1% +23.4% +3.92"])
        self.assertEqual([model], self.json_of("stats")["cost_models"])
        self.daemon.answers["stats"] = ("stats_reply", {"uptime_ms": 1})
        self.assertNotIn("SPEED", self.ctl_ok("stats"))

    def on_terminal(self, *arguments):
        """What dslactl writes to a terminal of 80 columns."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        child = subprocess.Popen([str(BIN / "dslactl"), *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                                 env={**os.environ, "DSLAD_CONNECT": self.jobs_url, "TERM": "xterm"})
        os.close(theirs)
        self.assertEqual(0, child.wait(PATIENCE))
        out = b""
        with contextlib.suppress(OSError):  # a terminal whose other end is closed gives EIO
            while part := os.read(ours, 65536):
                out += part
        os.close(ours)
        return out.decode()

    def test_a_result_tells_a_person_why_it_is_of_its_plan(self):
        def heading(**metrics):
            self.daemon.answers["result"] = ("job_result", {
                "job": {"id": 7, "task": "generate", "state": "succeeded"}, "outputs": [{"text": "x"}],
                "metrics": {"model": "demo", "why": "evil\x1b[2J", **metrics}})
            return self.on_terminal("result", "7").splitlines()[0]

        self.assertTrue(heading(plan=4, quality=0.981).endswith("plan 4 of demo (98.1% of plan 0's quality): evil?[2J"))
        self.assertTrue(heading(plan=0).endswith("plan 0 of demo"))


class Policy(PolicyTest):
    REPLY = {"policy": "deadline", "static_plan": 2, "min_quality": 0.95, "target_drain_ms": MINUTE, "dwell_ms": 10_000,
             "without": "", "threshold_check_ms": 5_000, "threshold_cooldown_ms": MINUTE, "plan": 4, "why": "what waits would take 70 s on plan 0, and 55 s now", "waiting_jobs": 12,
             "waiting_tokens": 34_567, "drain_ms": 187_000, "change_cost_ms": 0, "cost_models": [], "idle_after_ms": MINUTE,
             "idle_window": "22:00-06:00", "canary_share": 0.02, "min_agreement": 0.5, "idle": False, "agreements": [],
             "notes": []}

    @staticmethod
    def level(model="tiny", digest="d1" * 16, **members):
        return {"model": model, "model_digest": digest, "plan": 0, "since_ms": 0, "why": "", "change_cost_ms": 0, **members}

    def reply_is(self, **members):
        """Of a daemon with one model, unless `levels` has others."""
        reply = {**self.REPLY, **members}
        own = {key: reply[key] for key in ("plan", "why", "since_ms", "change_cost_ms") if key in reply}
        reply.setdefault("levels", [self.level(**own)])
        for request in ("policy_show", "policy_set"):
            self.daemon.answers[request] = ("policy_reply", reply)

    def test_show_says_what_is_in_force(self):
        self.reply_is(since_ms=int(time.time() * 1000) - 120_000)
        self.says("policy", "show", lines=[
            r"policy: deadline \(the smallest plan by which what waits is done in time\)",
            r"plan: 4 in force, since .*\d\d:\d\d:\d\d \(2 min ago\): what waits would take 70 s on plan 0, and 55 s now",
            r"least quality: 95% of plan 0's", r"target: a job without a deadline should end within 1 min 00 s",
            r"dwell: 10\.0 s before a smaller plan",
            r"waiting: 12 jobs, about 34,567 prompt tokens, done in about 3 min 10 s",
            r"idle work: after 1 min 00 s without jobs, 22:00-06:00; 2% of jobs on plans above 0 are run again; not now"])
        self.assertEqual({}, self.daemon.last("policy_show"))
        self.reply_is(without="expectation")
        self.says("policy", "show", lines=[r"left out: expectation \(policy\.without\)"])

    def test_show_says_how_far_plans_agree_with_plan_0(self):
        one = {"model": "tiny", "model_digest": "d", "edition": "e", "jobs": 20}
        self.reply_is(idle=True, agreements=[{**one, "plan": 2, "agreement": 0.97, "withdrawn": False},
                                             {**one, "plan": 4, "agreement": 0.31, "withdrawn": True}])
        self.says("policy", "show", lines=[
            r"idle work: .*; it is time now", r"plan 2 of tiny: answers agree to 97% with plan 0's over 20 jobs",
            r"plan 4 of tiny: .* 31% .*; below 50%, given to no job"])

    def test_show_and_set_say_what_whoever_sets_the_policy_should_know(self):
        self.reply_is(notes=["min_quality 100% leaves tiny no plan above 0: the best is plan 1"])
        for words in (("show",), ("set", "--min-quality", "1"), ("explain",)):
            self.says("policy", *words, lines=[r"note: min_quality 100% leaves tiny no plan above 0: the best is plan 1"])

    def test_show_of_a_fresh_daemon(self):
        self.reply_is(policy="static", why="", plan=2, waiting_jobs=0, waiting_tokens=0, drain_ms=0)
        self.says("policy", "show", lines=[r"policy: static .*", "plan: 2 in force, since the daemon's start", "static plan: 2",
                                           "waiting: no job"])
        self.reply_is(waiting_jobs=1, drain_ms=0)
        self.says("policy", "show", lines=["waiting: 1 job, about 34,567 prompt tokens, how long they take is not known yet"])

    def test_json_has_the_protocols_keys(self):
        self.reply_is(since_ms=5)
        levels = [self.level(plan=4, since_ms=5, why=self.REPLY["why"])]
        self.assertEqual({**self.REPLY, "since_ms": 5, "levels": levels}, self.json_of("policy", "show"))
        self.assertEqual({**self.REPLY, "since_ms": 5, "levels": levels}, self.json_of("policy", "set", "deadline"))

    def test_of_several_models_each_has_its_plan_and_its_reason(self):
        self.reply_is(levels=[self.level("demo", plan=4, why="what waits takes long", change_cost_ms=2_000),
                              self.level("evil\x1b[2J", digest="d2" * 16)])
        self.says("policy", "show", lines=[r"plan of demo: 4 in force, since the daemon's start: what waits takes long",
                                           r"plan of evil\?\[2J: 0 in force, since the daemon's start",
                                           r"dwell: .*which now costs 2\.0 s of reading documents again"])
        self.says("policy", "explain", lines=[r"plan 4 of demo is in force, since the daemon's start", "why: what waits takes long",
                                              r"plan 0 of evil\?\[2J is in force, since the daemon's start"])
        self.reply_is(levels=[self.level(plan=4), self.level(digest="d2" * 16)])
        self.says("policy", "show", lines=[r"plan of tiny \(d1d1d1d1d1d1\): 4 in force, .*",
                                           r"plan of tiny \(d2d2d2d2d2d2\): 0 in force, .*"])

    def test_without_a_worker_no_plan_is_said_to_be_in_force(self):
        self.reply_is(policy="static", static_plan=9, plan=0, why="", levels=[])
        self.says("policy", "show", lines=["plan: none in force, as no worker is connected", "static plan: 9"])
        self.says("policy", "explain", lines=["no plan is in force: no worker is connected", "policy static: .*"])

    def test_what_workers_cannot_follow_is_a_note(self):
        self.reply_is(policy="static", static_plan=9, notes=["plan 9 is static, but no worker of tiny offers one above 4"])
        for verb in (("set", "static", "--static-plan", "9"), ("show",), ("explain",)):
            self.says("policy", *verb, lines=["note: plan 9 is static, but no worker of tiny offers one above 4"])

    def test_explain_without_a_job_says_why_the_plan_is_in_force(self):
        learnt = {"workers": "demo on a host", "jobs": 40, "error_p50": 0.06, "error_p90": 0.2, "bytes_per_token": 4.0,
                  "output_share": 0.5, "batch": 3.0, "coefficients": []}
        self.reply_is(since_ms=int(time.time() * 1000) - 120_000, cost_models=[learnt])
        self.says("policy", "explain", lines=[
            r"plan 4 is in force, since .* \(2 min ago\)", "why: what waits would take 70 s on plan 0, and 55 s now",
            "policy deadline: the smallest plan by which what waits is done in time",
            r"it rises where .* falls once a smaller one has done it for 10\.0 s",
            "no job is given a plan below 95% of plan 0's quality", "waiting: 12 jobs, about 34,567 prompt tokens, done in about .*",
            "predictions for demo on a host: off by 6% at most in half of 40 jobs, by 20% in nine of ten"])
        self.assertEqual(self.REPLY["plan"], self.json_of("policy", "explain")["plan"])
        self.reply_is(policy="manual", why="set by hand")
        self.says("policy", "explain", lines=["plan 4 is in force, since the daemon's start", "why: set by hand",
                                              "policy manual: .*", "it stays until a person sets another: dslactl plan set",
                                              "waiting: .*", "predictions: none yet, .*"])

    def test_set_sends_what_is_named_and_nothing_else(self):
        self.reply_is()
        for options, body in (
            (("deadline",), {"policy": "deadline"}),
            (("--policy", "threshold"), {"policy": "threshold"}),
            (("manual",), {"policy": "manual"}),
            (("static", "--static-plan", "4"), {"policy": "static", "static_plan": 4}),
            (("--min-quality", "98%"), {"min_quality": 0.98}),
            (("--min-quality", "0"), {"min_quality": 0}),
            (("--target-drain", "5m"), {"target_drain_ms": 5 * MINUTE}),
            (("--dwell", "0"), {"dwell_ms": 0}),
            (("--dwell", "1.5"), {"dwell_ms": 1500}),
            (("--idle-after", "0"), {"idle_after_ms": 0}),
            (("--idle-window", "22:00-06:00"), {"idle_window": "22:00-06:00"}),
            (("--canary-share", "5%", "--min-agreement", "0.6"), {"canary_share": 0.05, "min_agreement": 0.6}),
        ):
            with self.subTest(options=options):
                self.says("policy", "set", *options, lines=[r"policy: deadline .*", r"plan: 4 in force.*"])
                sent = {key: value for key, value in self.daemon.last("policy_set").items() if value is not None}
                self.assertEqual(body, sent)

    def test_set_needs_something_to_set_and_names_what_is_wrong(self):
        for options, says in (
            ((), ["nothing to set", "manual, static, threshold, deadline", "policy set --help"]),
            (("fast",), ["'fast'", "manual, static, threshold, deadline"]),
            (("--policy", "Deadline"), ["'Deadline'", "deadline"]),
            (("static", "--policy", "deadline"), ["--policy"]),
            (("--static-plan", "2000"), ["--static-plan", "2000", "1024"]),
            (("--static-plan", "four"), ["--static-plan", "four"]),
            (("--min-quality", "98"), ["--min-quality", "0.98 or 98%"]),
            (("--target-drain", "0"), ["--target-drain", "too short"]),
            (("--target-drain", "soon"), ["--target-drain", "'soon'"]),
            (("--dwell", "-1"), ["--dwell", "negative"]),
            (("--idle-window", "22-06"), ["'22-06'", "22:00-06:00"]),
            (("--canary-share", "5"), ["--canary-share", "5%"]),
        ):
            with self.subTest(options=options):
                self.refused(USAGE, "policy", "set", *options, says=says)
        self.refused(USAGE, "policy", says=["--help"])
        self.assertEqual([], self.daemon.requests)

    def test_refusals_and_silence_have_their_exit_status(self):
        for verb in (("show",), ("set", "static"), ("explain", "7"), ("history",)):
            with self.subTest(verb=verb):
                self.refused(USAGE, "policy", *verb, says=["there is no request"])
                self.daemon.refuse({"set": "policy_set"}.get(verb[0], f"policy_{verb[0]}"), wire.REFUSED, "not now")
                self.refused(REFUSED, "policy", *verb, says=["not now"])
                self.refused(UNREACHABLE, "policy", *verb, url=f"ipc://{self.folder}/absent.sock", says=["absent.sock"])


class Explain(PolicyTest):
    def verdict_is(self, **members):
        self.daemon.answers["policy_explain"] = ("job_verdict", {"id": 7, "state": "queued", **members})

    def test_of_a_job_that_waits(self):
        self.verdict_is(plan=4, quality=0.981, why="the smallest plan by which its deadline is met", place=3,
                        start_ms=soon(MINUTE), finish_ms=soon(2 * MINUTE), deadline_ms=soon(5 * MINUTE))
        self.says("policy", "explain", "7", lines=[
            "job 7 waits, number 3 in the queue",
            r"it would get plan 4 \(98\.1% of plan 0's quality\)", "why: the smallest plan by which its deadline is met",
            r"begins about .* \(in 1 min\)", r"done about .* \(in 2 min\)",
            r"deadline .* \(in 5 min\): will be met with 3 min to spare"])
        self.assertEqual(7, self.daemon.last("policy_explain")["id"])

    def test_of_a_job_that_will_be_late(self):
        self.verdict_is(plan=6, why="it misses its deadline on every plan that it allows", finish_ms=soon(5 * MINUTE),
                        deadline_ms=soon(2 * MINUTE))
        self.says("policy", "explain", "7", lines=[r"job 7 waits", r"it would get plan 6 \(quality not measured\)",
                                                   "why: it misses .*",
                                                   r"deadline .*: it will be about 3 min late"])

    def test_of_a_job_that_nothing_is_decided_of(self):
        self.verdict_is(why="no connected worker can take it")
        self.says("policy", "explain", "7", lines=["its plan is decided when it begins", "why: no connected worker can take it",
                                                   "when it is done is not known yet"])

    def test_of_jobs_that_run_and_that_have_ended(self):
        now = int(time.time() * 1000)
        self.verdict_is(state="running", plan=0, why="set by hand", start_ms=now - MINUTE)
        self.says("policy", "explain", "7", lines=["job 7 runs", "it has plan 0", "why: set by hand", r"began .* \(1 min ago\)"])
        self.verdict_is(state="succeeded", plan=2, quality=1, start_ms=now - 2 * MINUTE, finish_ms=now - MINUTE,
                        deadline_ms=now - 2 * MINUTE)
        self.says("policy", "explain", "7", lines=["job 7 succeeded", r"it had plan 2 \(100% of plan 0's quality\)", r"began .*",
                                                   r"ended .* \(1 min ago\)", r"deadline .*: it was 1 min late"])
        self.verdict_is(state="cancelled")
        self.says("policy", "explain", "7", lines=["job 7 was cancelled", "no plan is recorded of it"])

    def test_json_leaves_out_what_is_not_known(self):
        self.verdict_is(why="x")
        self.assertEqual({"id": 7, "state": "queued", "why": "x", "place": 0, "start_ms": 0, "finish_ms": 0, "deadline_ms": 0,
                          "at_worker": False}, self.json_of("policy", "explain", "7"))

    def test_unknown_jobs_and_wrong_ids(self):
        self.daemon.refuse("policy_explain", wire.NOT_FOUND, "job 99 is not known")
        self.refused(REFUSED, "policy", "explain", "99", says=["99"])
        self.refused(USAGE, "policy", "explain", "first", says=["first"])


class History(PolicyTest):
    CHANGE = {"time_ms": 1_750_000_000_000, "policy": "deadline", "model": "tiny", "model_digest": "d1", "from": 0, "to": 4, "why": "evil\x1b[2J\nwhy",
              "waiting_jobs": 12, "waiting_tokens": 34_567, "drain_ms": 187_000}

    def test_is_a_table_newest_first(self):
        self.daemon.answers["policy_history"] = ("policy_history_reply", {"changes": [
            self.CHANGE, {**self.CHANGE, "from": 4, "to": 10, "policy": "threshold", "drain_ms": 0, "why": "x"}]})
        self.says("policy", "history", env={"TZ": "UTC"}, lines=[
            r"TIME +POLICY +PLAN +WAITING +TOKENS +DONE IN  WHY",
            r"2025-06-15 15:06:40  deadline   0 -> 4        12  34,567  3 min 10 s  evil\?\[2J\?why",
            r"2025-06-15 15:06:40  threshold  4 -> 10       12  34,567           -  x"])
        self.assertEqual(100, self.daemon.last("policy_history")["limit"])

    def test_names_the_models_where_there_are_several(self):
        other = {**self.CHANGE, "model": "demo", "model_digest": "d2"}
        self.daemon.answers["policy_history"] = ("policy_history_reply", {"changes": [self.CHANGE, other]})
        self.says("policy", "history", lines=[r"TIME +POLICY +MODEL +PLAN .*", r".* deadline +tiny +0 -> 4 .*",
                                              r".* deadline +demo +0 -> 4 .*"])

    def test_a_plan_that_is_given_to_no_job_is_no_change_of_the_plan_in_force(self):
        withdrawn = {**self.CHANGE, "from": 1, "to": 1, "drain_ms": 0, "why": "plans of tiny from 2 on are given to no job"}
        self.daemon.answers["policy_history"] = ("policy_history_reply", {"changes": [withdrawn]})
        self.says("policy", "history", lines=[r".* deadline +1 +12  34,567 +-  plans of tiny from 2 on are given to no job"])

    def test_json_and_limit(self):
        self.daemon.answers["policy_history"] = ("policy_history_reply", {"changes": [self.CHANGE]})
        self.assertEqual({"changes": [self.CHANGE]}, self.json_of("policy", "history", "--limit", "5"))
        self.assertEqual(5, self.daemon.last("policy_history")["limit"])
        self.refused(USAGE, "policy", "history", "--limit", "0", says=["limit", "1 to 1024"])

    def test_of_a_policy_that_never_changed_its_plan(self):
        self.daemon.answers["policy_history"] = ("policy_history_reply", {"changes": []})
        self.assertEqual("the policy has not changed its plan yet\n", self.ctl_ok("policy", "history"))


if __name__ == "__main__":
    unittest.main()
