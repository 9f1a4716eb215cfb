"""bench/replay: what it reads, draws, computes and shows, and one short run of the real programs on the demo model."""

import dataclasses
import itertools
import os
import pathlib
import random
import sys
import tempfile
import unittest
import xml.dom.minidom

SOURCE = pathlib.Path(os.environ["DSLAD_SOURCE"])
BIN = pathlib.Path(os.environ["DSLAD_BIN"])
DATA = pathlib.Path(os.environ.get("DSLAD_DATA", SOURCE.parent / "shared/data"))
sys.path.insert(0, str(SOURCE / "bench"))

from replay_tool import (  # noqa: E402
    clairvoyant, configurations, documents, generators, intervals, measures, mixes, page, predicted, records, replay, results, scaling,
    scores, simulator, table, trace_files,
)
from replay_tool.arrivals import Arrival, total_tokens  # noqa: E402
from replay_tool.complaint import Complaint  # noqa: E402

QUALITY = {0: 1.0, 2: 0.9, 4: 0.8}


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, text, name="trace"):
        path = self.folder / name
        path.write_text(text)
        return path


class TraceFiles(Folder):
    def read(self, text):
        return trace_files.read_trace_file(self.write(text))

    def test_azure_times_have_seven_digits_and_begin_at_zero(self):
        arrivals, timed = self.read("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
                                    "2023-11-16 18:17:04.0319601,3180,8\n")
        self.assertTrue(timed)
        self.assertEqual([(4808, 10), (3180, 8)], [(a.prompt_tokens, a.output_tokens) for a in arrivals])
        self.assertEqual(0.0, arrivals[0].at_s)
        self.assertAlmostEqual(0.0520001, arrivals[1].at_s, places=6)

    def test_mooncake_times_are_milliseconds(self):
        arrivals, timed = self.read('{"timestamp": 1000, "input_length": 7, "output_length": 5, "hash_ids": [0]}\n'
                                    '{"timestamp": 4000, "input_length": 8, "output_length": 6, "hash_ids": [0, 1]}\n')
        self.assertTrue(timed)
        self.assertEqual([Arrival(0.0, 7, 5), Arrival(3.0, 8, 6)], arrivals)

    def test_vidur_with_and_without_times(self):
        arrivals, timed = self.read("arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,2\n0.25,20,3\n")
        self.assertTrue(timed)
        self.assertEqual([Arrival(0.0, 20, 3), Arrival(0.25, 10, 2)], arrivals)
        arrivals, timed = self.read("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n10,2,12,5.0\n")
        self.assertFalse(timed)
        self.assertEqual([Arrival(0.0, 10, 2)], arrivals)

    def test_what_is_no_trace_is_refused_with_the_line(self):
        for text, says in (("a,b\n1,2\n", "first line"), ("TIMESTAMP,ContextTokens,GeneratedTokens\nx,1,2\n", "line 2"),
                           ("", "first line"), ("arrived_at,num_prefill_tokens,num_decode_tokens\n", "no requests"),
                           ('{"timestamp": 1}\n', "line 1")):
            with self.subTest(text), self.assertRaisesRegex(Complaint, says):
                self.read(text)

    def test_the_published_files_are_read(self):
        files = {"azure/AzureLLMInferenceTrace_code.csv": 8819, "mooncake/synthetic_trace.jsonl": 3993,
                 "vidur/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv": 28257}
        if not all((DATA / "traces" / name).is_file() for name in files):
            self.skipTest("no data")
        for name, count in files.items():
            self.assertEqual(count, len(trace_files.read_trace_file(DATA / "traces" / name)[0]))


class Scaling(unittest.TestCase):
    def setUp(self):
        rng = random.Random(1)
        times = itertools.accumulate(rng.expovariate(0.1) for _ in range(2000))
        self.arrivals = [Arrival(at, rng.randint(100, 40_000), 50) for at in times]

    def test_lengths_fit_and_keep_their_proportions(self):
        fitted = scaling.fit_lengths(self.arrivals, 10, 4000)
        self.assertLessEqual(max(a.prompt_tokens for a in fitted), 4000)
        ratios = [b.prompt_tokens / a.prompt_tokens for a, b in zip(self.arrivals, fitted) if b.prompt_tokens not in (10, 4000)]
        self.assertAlmostEqual(max(ratios), min(ratios), delta=0.01)

    def test_lengths_that_fit_are_not_made_longer(self):
        small = [Arrival(0.0, 50, 5), Arrival(1.0, 70, 5)]
        self.assertEqual(small, scaling.fit_lengths(small, 10, 4000))

    def test_a_window_has_the_load_asked_for_and_is_the_seeds(self):
        trace = scaling.window_of_load("t", self.arrivals, 3, rate=50_000, duration_s=100)
        self.assertAlmostEqual(1.0, scaling.offered_load(trace, 50_000), delta=0.05)
        self.assertEqual(trace, scaling.window_of_load("t", self.arrivals, 3, 50_000, 100))
        self.assertNotEqual(trace.arrivals, scaling.window_of_load("t", self.arrivals, 4, 50_000, 100).arrivals)

    def test_a_window_of_time_divides_times_alone(self):
        trace = scaling.window_of_time("t", self.arrivals, 3, time_scale=10, duration_s=100)
        self.assertLess(trace.arrivals[-1].at_s, 100)
        self.assertAlmostEqual(100, len(trace.arrivals), delta=40)

    def test_lengths_without_times_arrive_at_the_rate(self):
        trace = scaling.without_times("t", self.arrivals, 5, rate=40_000, duration_s=2000)
        self.assertAlmostEqual(40_000, total_tokens(trace.arrivals) / 2000, delta=2500)


class Generators(unittest.TestCase):
    lengths = generators.Lengths(1000, 50, 120, 6000)

    def make(self, seed, phases):
        return generators.generate("square", seed, phases, self.lengths.draw)

    def test_equal_seeds_give_equal_traces_and_others_do_not(self):
        phases = generators.wave(60, 10, 10, 5, 1)
        self.assertEqual(self.make(1, phases), self.make(1, phases))
        self.assertNotEqual(self.make(1, phases), self.make(2, phases))

    def test_each_phase_has_its_rate(self):
        trace = self.make(1, generators.wave(2000, 500, 500, 4, 1))
        counts = [0, 0]
        for arrival in trace.arrivals:
            counts[int(arrival.at_s / 500) % 2] += 1
        self.assertAlmostEqual(4000, counts[0], delta=4 * 4000**0.5)
        self.assertAlmostEqual(1000, counts[1], delta=4 * 1000**0.5)

    def test_bursts_are_the_phases_of_the_highest_rate(self):
        trace = self.make(1, generators.wave(50, 10, 10, 5, 0))
        self.assertEqual([(0, 10), (20, 30), (40, 50)], [(b.start_s, b.end_s) for b in trace.bursts])
        self.assertTrue(all(int(a.at_s / 10) % 2 == 0 for a in trace.arrivals))
        self.assertEqual((), self.make(1, [generators.Phase(0, 60, 3)]).bursts)

    def test_lengths_are_within_bounds_and_the_median_is_as_asked(self):
        rng = random.Random(1)
        drawn = sorted(self.lengths.draw(rng)[0] for _ in range(4001))
        self.assertTrue(120 <= drawn[0] and drawn[-1] <= 6000)
        self.assertAlmostEqual(1000, drawn[2000], delta=60)


class Documents(unittest.TestCase):
    def test_logbooks_are_as_long_as_asked_and_have_known_answers(self):
        made = documents.Logbooks().make("1-2", Arrival(0.0, 900, 60))
        self.assertEqual(made, documents.Logbooks().make("1-2", Arrival(0.0, 900, 60)))
        self.assertAlmostEqual(900, documents.logbooks.count_pieces(made.body["document"]), delta=90)
        self.assertEqual(4, len(made.body["questions"]))
        self.assertEqual(4, len(made.answers))

    def test_scores_are_squads(self):
        self.assertEqual(1.0, scores.exact_match("The seal, of  Oak RED", "seal of oak red."))
        self.assertEqual(0.0, scores.exact_match("seal of Oak", "seal of oak red."))
        self.assertAlmostEqual(6 / 7, scores.f1("seal of Oak", "seal of oak red."))
        self.assertEqual(0.0, scores.f1("", "red"))
        self.assertAlmostEqual(0.5, scores.mean_score(scores.exact_match, ["red"], ("red", "blue")))


class Statistics(unittest.TestCase):
    def test_percentiles_are_by_nearest_rank(self):
        self.assertEqual(5, intervals.percentile(range(1, 11), 0.50))
        self.assertEqual(10, intervals.percentile(range(1, 11), 0.95))
        self.assertEqual(95, intervals.percentile(range(100, 0, -1), 0.95))
        self.assertEqual(7, intervals.percentile([7], 0.99))

    def test_the_interval_is_students(self):
        found = intervals.interval([1.0, 2.0, 3.0, None])
        self.assertEqual((2.0, 3), (found.mean, found.count))
        self.assertAlmostEqual(4.303 / 3**0.5, found.half)
        self.assertIsNone(intervals.interval([1.0]).half)
        self.assertIsNone(intervals.interval([None]))

    def test_ratios_have_a_geometric_mean(self):
        mean, low, high = intervals.ratio_interval([0.5, 2.0])
        self.assertAlmostEqual(1.0, mean)
        self.assertTrue(low < 0.5 and high > 2.0)


def job(number, created, started, ended, plan=0, tokens=100, **changes):
    values = dict(number=number, id=number + 1, planned_s=created, created_s=created, started_s=started, ended_s=ended,
                  state="succeeded", attempts=1, prompt_tokens=tokens, output_tokens=10, plan=plan, quality=QUALITY[plan],
                  exact=1.0, f1=1.0, prefill_s=ended - started, decode_s=0.0,
                  steps=1, deadline_s=None, missed=None)  # fmt: skip
    return records.JobRecord(**{**values, **changes})


class Measures(unittest.TestCase):
    def setUp(self):
        change = records.PlanChange
        jobs = [job(0, 0, 0, 2), job(1, 1, 2, 4, 2, tokens=300, f1=0.5, exact=0.0), job(2, 6, 6, 7, 4),
                job(3, 11, 12, 13, 4, missed=True, deadline_s=1.0), job(4, 15, 15, 16, 4, missed=False, deadline_s=3.0)]  # fmt: skip
        self.run_ = records.RunRecord("deadline", 1, jobs, [change(1.5, 0, 2), change(5.0, 2, 4), change(12, 4, 0)],
                                      bursts=[(0, 4), (11, 20)])  # fmt: skip

    def test_columns(self):
        found = {column.key: column.measure(self.run_) for column in measures.columns(QUALITY)}
        self.assertEqual(16, found["makespan_s"])
        self.assertEqual((2, 3), (found["p50_s"], found["p95_s"]))
        self.assertIsNone(found["at_once"])
        self.assertEqual(0.5, found["missed"])
        self.assertAlmostEqual((400 + 150) / 700, found["f1"])
        self.assertAlmostEqual((100 + 270 + 240) / 700, found["table_quality"])
        self.assertAlmostEqual(3 * 3600 / 16, found["changes_per_hour"])
        self.assertEqual(1.5, found["first_change_s"])  # the second burst has no change upward
        self.assertEqual(2, found["target_plan_s"])  # before the second burst the plan is 4 already
        self.assertEqual(0, found["lost_or_doubled"])

    def test_a_job_without_a_result_counts_as_missed_and_not_as_done(self):
        self.run_.jobs.append(job(5, 16, 16, 17, state="failed", missed=True, plan=0))
        self.assertEqual(5, len(self.run_.done))
        self.assertAlmostEqual(2 / 3, measures.missed_deadlines(self.run_))

    def test_a_run_whose_jobs_came_late_is_named(self):
        self.assertEqual([], measures.held_up([self.run_]))
        self.run_.jobs[3].created_s += 18.2
        [line] = measures.held_up([self.run_])
        self.assertIn("deadline, seed 1: jobs came up to 18.2 s later", line)

    def test_waiting_tokens_end_at_zero(self):
        steps = measures.waiting_tokens(self.run_)
        self.assertEqual(0, steps[-1][1])
        self.assertEqual(300, max(tokens for _, tokens in steps))

    def test_jobs_are_at_work_from_their_begin_and_not_from_their_lease(self):
        begun = [job(0, 0, 0, 4, begun_s=1.0), job(1, 0, 0, 3, begun_s=2.0), job(2, 0, 0, 6, begun_s=3.0), job(3, 0, 0, 9)]
        run = records.RunRecord("static 0", 1, begun)
        self.assertEqual([(0, 0), (1, 1), (2, 2), (3, 1), (3, 2), (4, 1), (6, 0)], measures.jobs_at_work(run))
        self.assertEqual(2, measures.most_at_once(run))

    def test_a_job_has_begun_before_the_steps_that_it_was_in(self):
        self.assertAlmostEqual(7.5, replay._begun_s(10_000, {"prefill_ms": 2000.0, "decode_ms": 500.0}))
        self.assertIsNone(replay._begun_s(10_000, {}))

    def test_plans_between_two_measured_ones_lie_on_the_line(self):
        filled = replay.interpolated({0: 1.0, 1: None, 2: 0.9, 3: None})
        self.assertEqual([1.0, 0.95, 0.9, 0.9], [round(filled[plan], 9) for plan in range(4)])


class Configurations(unittest.TestCase):
    def test_names_of_plans_and_settings(self):
        self.assertEqual(6, configurations.parse("static:three-quarters", 8).plan)
        parsed = configurations.parse("deadline:dwell_ms=0,min_quality=0.98", 8)
        self.assertEqual({"dwell_ms": 0, "min_quality": 0.98}, parsed.settings)
        self.assertTrue(parsed.adaptive)
        for text, says in (("static:9", "0 to 8"), ("static", "number"), ("best", "no such policy"),
                           ("deadline:dwel_ms=1", "no setting"), ("deadline:dwell_ms=x", "no number"),
                           ("deadline:without=luck", "none of")):
            with self.subTest(text), self.assertRaisesRegex(Complaint, says):
                configurations.parse(text, 8)

    def test_what_the_daemon_is_started_with(self):
        parsed = configurations.parse("deadline:without=own_plans,dwell_ms=0", 8)
        self.assertEqual(["policy.without=own_plans"], parsed.daemon_settings(6))
        self.assertEqual({"dwell_ms": 0}, parsed.settings)
        self.assertEqual(["policy.threshold_check_ms=833", "policy.threshold_cooldown_ms=10000"],
                         configurations.parse("threshold", 8).daemon_settings(6))
        self.assertIn("policy.threshold_check_ms=70", configurations.parse("threshold:threshold_check_ms=70", 8).daemon_settings(6))

    def test_what_is_asked_of_the_daemon(self):
        asked = []

        class Peer:
            def request(self, kind, body):
                asked.append((kind, body))

        defaults = {"dwell_ms": 5000, "min_quality": 0.0}
        for text in ("static:half", "deadline:dwell_ms=0", "manual:2"):
            configurations.parse(text, 8).apply(Peer(), defaults)
        self.assertEqual([
            ("policy_set", {"policy": "static", "static_plan": 4, "dwell_ms": 5000, "min_quality": 0.0}),
            ("policy_set", {"policy": "deadline", "dwell_ms": 0, "min_quality": 0.0}),
            ("plan_set", {"plan": 2, "reason": "replay"}),
        ], asked)


class Mixes(unittest.TestCase):
    def test_the_share_gives_the_quality(self):
        self.assertAlmostEqual(0.25, mixes.share_of_second(0.95, 1.0, 0.8))
        self.assertAlmostEqual(0.75, mixes.share_of_second(0.95, 0.8, 1.0))
        self.assertIsNone(mixes.share_of_second(0.7, 1.0, 0.8))
        self.assertIsNone(mixes.share_of_second(0.9, 0.9, 0.9))
        self.assertEqual([], mixes.mixes_of_quality("deadline", 1.0, [0, 2, 4], QUALITY))

    def test_every_pair_around_the_quality_is_mixed(self):
        made = mixes.mixes_of_quality("deadline", 0.85, [0, 2, 4], QUALITY)
        self.assertEqual([(0, 4), (2, 4)], [mix.mix for mix in made])
        tokens = [random.Random(number).randint(100, 3000) for number in range(200)]
        for mix in made:
            plans = mix.max_plans(tokens, seed=1)
            self.assertEqual(plans, mix.max_plans(tokens, seed=1))
            quality = sum(QUALITY[plan] * weight for plan, weight in zip(plans, tokens)) / sum(tokens)
            self.assertAlmostEqual(0.85, quality, places=3)

    def test_a_computed_mix_has_the_static_runs_work_and_answers(self):
        static = {plan: records.RunRecord(f"static {plan}", 1, [job(n, n, n, n + cost, plan, f1=QUALITY[plan]) for n in range(4)])
                  for plan, cost in ((0, 3), (4, 1))}  # fmt: skip
        [mix] = mixes.mixes_of_quality("deadline", 0.9, [0, 4], QUALITY)
        run = mixes.computed_mix(mix, static, 1, workers=1)
        self.assertEqual(2, sum(each.plan == 4 for each in run.jobs))
        self.assertAlmostEqual(0.9, measures.table_quality(run, QUALITY))
        self.assertAlmostEqual(8, run.makespan_s)


class Simulator(unittest.TestCase):
    def test_two_workers_take_the_next_job_when_they_are_free(self):
        spans = simulator.serial_spans([0, 0, 0, 10], [4, 1, 2, 1], 2)
        self.assertEqual([(0, 4), (0, 1), (1, 3), (10, 11)], spans)

    def test_a_job_alone_takes_its_work(self):
        [end] = simulator.engine_ends([3.0], [simulator.Cost(2.0, 1.0, 1300, 10)], 1)
        self.assertAlmostEqual(6.0, end)

    def test_answers_are_written_while_later_documents_are_read(self):
        # Both documents take one step of 1 s. The first job's two tokens (0.1 s each) are written in the second step,
        # beside the other's document, and in the third.
        cost = simulator.Cost(1.0, 0.2, 512, 2)
        ends = simulator.engine_ends([0.0, 0.0], [cost, cost], 1)
        self.assertAlmostEqual(1.0 + 1.1 + 0.2, ends[0])
        self.assertAlmostEqual(1.0 + 1.1 + 0.2 + 0.1, ends[1])

    def test_the_work_is_the_same_in_any_case(self):
        rng = random.Random(3)
        costs = [simulator.Cost(rng.uniform(0.1, 2), rng.uniform(0.1, 1), rng.randint(1, 4000), rng.randint(1, 40)) for _ in range(20)]
        ends = simulator.engine_ends([0.0] * 20, costs, 1)
        self.assertAlmostEqual(sum(cost.work_s for cost in costs), max(ends))
        serial = simulator.serial_spans([0.0] * 20, [cost.work_s for cost in costs], 1)
        self.assertLessEqual(max(end for _, end in serial), max(ends) + 1e-9)

    def test_two_workers_share_the_jobs(self):
        ends = simulator.engine_ends([0.0] * 4, [simulator.Cost(1.0, 0.5, 100, 5)] * 4, 2)
        self.assertAlmostEqual(3.0, max(ends))


def planned(at, tokens, works):
    """A job whose work is all prefill of one step."""
    return clairvoyant.PlannedJob(at, tokens, {plan: simulator.Cost(work, 0.0, 512, 1) for plan, work in works.items()})


class Clairvoyant(unittest.TestCase):
    def test_a_case_solved_by_hand(self):
        # Three equal jobs at once, 4 s each at plan 0 and 1 s at plan 4, of which the quality allows one: whichever is
        # converted, the last ends after 9 s.
        best = clairvoyant.bound([planned(0.0, 100, {0: 4.0, 4: 1.0}) for _ in range(3)], QUALITY, quality=0.9)
        self.assertEqual((9.0, 9.0, 1), (best.p95_s, best.makespan_s, best.plans.count(4)))
        self.assertTrue(best.exact)

    def test_it_converts_a_job_that_waits_or_that_others_wait_for(self):
        # The first one alone is in nobody's way; of the pair at 10 s one must be cheap.
        jobs = [planned(at, 100, {0: 4.0, 4: 1.0}) for at in (0.0, 10.0, 10.0)]
        best = clairvoyant.bound(jobs, QUALITY, quality=1 - 0.2 / 3)
        self.assertEqual((0, 5.0), (best.plans[0], best.p95_s))

    def test_a_quality_that_no_choice_has(self):
        self.assertIsNone(clairvoyant.bound([planned(0.0, 100, {4: 1.0})], QUALITY, quality=0.9))

    def test_it_finds_what_trying_everything_finds(self):
        rng = random.Random(7)
        for workers, objective in itertools.product((1, 2), ("p95", "makespan")):
            jobs = [planned(at, rng.randint(100, 900), {plan: rng.uniform(1, 3) / (1 + plan) for plan in QUALITY})
                    for at in sorted(rng.uniform(0, 6) for _ in range(6))]  # fmt: skip
            best = clairvoyant.bound(jobs, QUALITY, 0.93, workers, objective)
            found = best.p95_s if objective == "p95" else best.makespan_s
            self.assertAlmostEqual(self.by_trying(jobs, 0.93, workers, objective), found)
            self.assertGreaterEqual(best.quality, 0.93 - 1e-9)

    def by_trying(self, jobs, quality, workers, objective):
        tokens = sum(each.tokens for each in jobs)
        arrivals = [each.arrival_s for each in jobs]
        best = float("inf")
        for plans in itertools.product(QUALITY, repeat=len(jobs)):
            if sum(QUALITY[plan] * each.tokens for plan, each in zip(plans, jobs)) < quality * tokens - 1e-9:
                continue
            spans = simulator.serial_spans(arrivals, [each.costs[plan].work_s for plan, each in zip(plans, jobs)], workers)
            latest = max(end - arrival for arrival, (_, end) in zip(arrivals, spans))
            best = min(best, latest if objective == "p95" else max(end for _, end in spans) - arrivals[0])
        return best

    def test_in_the_simulated_engine_a_bad_choice_is_improved_and_keeps_the_quality(self):
        jobs = [planned(at, 100, {0: 4.0, 4: 1.0}) for at in (0.0, 10.0, 10.0)]
        plans, p95_s = clairvoyant.improved(jobs, (4, 0, 0), QUALITY, 1 - 0.2 / 3, 1)
        self.assertEqual((1, 0), (plans.count(4), plans[0]))
        self.assertEqual(p95_s, clairvoyant.engine_p95(jobs, plans, 1))
        self.assertLess(p95_s, clairvoyant.engine_p95(jobs, (4, 0, 0), 1))


def parse_page(text):
    return xml.dom.minidom.parseString(text.partition("\n")[2])


class Shown(unittest.TestCase):
    def setUp(self):
        jobs = [job(n, n, n + 0.5, n + 2, plan=2, missed=n == 3, f1=None if n == 2 else 0.5) for n in range(20)]
        runs = [records.RunRecord(label, seed, [dataclasses.replace(each, ended_s=each.ended_s + slower) for each in jobs],
                                  [records.PlanChange(4.0, 0, 2, "a <burst> & more")], bursts=[(0, 10)])
                for seed in (1, 2) for label, slower in (("deadline", 0), ("mix 0+4 for deadline", 2))]  # fmt: skip
        self.judged_by = table.Compared(measures.latency_at(0.95), measures.missed_deadlines,
                                        lambda run: measures.table_quality(run, QUALITY))  # fmt: skip
        self.results = results.Results("<t>&'\"", {"policy": ["<a>"]}, QUALITY, 100.0, runs, ["1 < 2 & 3"])

    def test_the_page_is_well_formed_and_needs_nothing_else(self):
        text = page.page(self.results)
        document = parse_page(text)
        self.assertEqual(10, len(document.getElementsByTagName("svg")))
        self.assertIn("prefers-color-scheme", text)
        for outside in ("http:", "https:", "<script", "@import", "url("):
            self.assertNotIn(outside, text)

    def test_a_page_of_runs_without_any_result_is_one_too(self):
        for run in self.results.runs:
            run.jobs = [dataclasses.replace(each, state="failed", started_s=None, ended_s=None, plan=None) for each in run.jobs]
        parse_page(page.page(self.results))

    def test_rows_are_means_over_seeds_and_the_verdict_is_against_the_best_mix(self):
        columns = measures.columns(QUALITY)
        rows = table.rows_of(self.results.runs, columns)
        self.assertEqual(["deadline", "mix 0+4 for deadline"], [row.label for row in rows])
        self.assertEqual("2.00 ±0.00", table.cell_text(rows[0].cells[2], columns[2]))
        [line] = table.verdicts(self.results.runs, ["deadline"], self.judged_by)
        self.assertIn("x0.50 [0.50, 0.50]", line)
        self.assertIn("it missed 5.0% of the deadlines, the best of those 5.0% (2 seeds)", line)

    def test_a_prediction_of_plans_that_were_not_measured_has_no_quality(self):
        report = {"policies": [{"makespan_ms": 4000, "p50_ms": 1000, "p95_ms": 2000, "missed": 1, "with_deadline": 4},
                               {"makespan_ms": 9000, "p50_ms": 9000, "p95_ms": 9000, "missed": 4, "with_deadline": 4}]}  # fmt: skip
        self.assertEqual(records.Prediction(4.0, 1.0, 2.0, 0.25, None), predicted.prediction_of(report))

    def test_predictions_are_compared_by_configuration(self):
        for run in self.results.runs:
            if run.configuration == "deadline":  # made of 2 s, from 0 to 21
                run.predicted = records.Prediction(10.5 * run.seed, 2.0, 2.0, None, 0.9)
        [line] = predicted.comparison(self.results.runs)
        self.assertIn("deadline: makespan x0.75 (0.50 to 1.00), p50 x1.00", line)

    def test_a_static_plan_of_more_quality_is_a_rival_too_and_one_of_less_is_not(self):
        for plan, says in ((0, "x2.00"), (4, "x0.50")):
            faster = [job(n, n, n, n + 1, plan=plan, missed=False) for n in range(20)]
            runs = [run for run in self.results.runs if run.seed == 1]
            lines = table.verdicts([*runs, records.RunRecord(f"static {plan}", 1, faster)], ["deadline"], self.judged_by)
            self.assertIn(says, lines[0])
            beside_plan_0 = ["deadline: static 0's p95 is x0.50 of its own (1 seed)"]
            self.assertEqual(beside_plan_0 if plan == 0 else [], lines[1:])

    def test_calm_is_what_comes_outside_bursts(self):
        run = self.results.runs[0]
        self.assertEqual(list(range(10, 20)), [each.number for each in measures.outside_bursts(run)])
        run.bursts = []
        self.assertEqual([], measures.outside_bursts(run))


if __name__ == "__main__":
    unittest.main()
