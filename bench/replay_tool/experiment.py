"""The order of things: calibrate, then for each seed every configuration, each with a daemon and workers of its own that
are shown the same jobs first; then the mixes, which depend on what the adaptive runs did."""

import dataclasses
import pathlib
import shutil

from . import calibration, measures
from .clairvoyant import MOST_JOBS, PlannedJob, bound, engine_p95, improved
from .complaint import Complaint
from .configurations import Configuration, parse
from .documents import Logbooks, PlainText
from .mixes import computed_mix, mixes_of_quality, model_error
from .options import scale_of_terms, service_options
from .processes import Service
from .progress import Progress
from .records import RunRecord
from .replay import RunSettings, TimedWork, count_doubled, replay
from .results import Results
from .scaling import offered_load
from .workload import Workload

P95 = measures.latency_at(0.95)


class Experiment:
    """`folder`: for logs and databases. `results` grows with each run, so that what is there can be shown whenever it ends."""

    def __init__(self, options, folder: pathlib.Path, results: Results, progress: Progress):
        self.options, self.folder, self.results, self.progress = options, folder, results, progress
        self.service_options = service_options(options)
        scale = scale_of_terms(options)
        self.settings = RunSettings(
            deadline_s=options.deadline / scale,
            patience_s=options.patience,
            policy_defaults={
                "target_drain_ms": round(options.target_drain / scale * 1000),
                "dwell_ms": round(options.dwell / scale * 1000),
                "min_quality": options.min_quality,
            },
        )
        self.runs_done = 0

    def run(self):
        self._calibrate()
        for seed in range(self.options.first_seed, self.options.first_seed + self.options.seeds):
            self._run_seed(seed)

    def model_errors(self) -> list[float]:
        """Of the simulated engine: its p95 as a ratio to the measured one, of each static run."""
        static = {configuration.label for configuration in self.configurations if configuration.is_static}
        errors = [model_error(run, self.options.workers, P95) for run in self.results.runs if run.configuration in static]
        return [error for error in errors if error is not None]

    def _calibrate(self):
        options, progress = self.options, self.progress
        progress.step("calibration")
        with Service(self.service_options, self.folder / "calibration") as service:
            machine = calibration.describe(service)
            self.configurations = self._parse(machine.layers)
            documents = Logbooks()
            if options.text:
                documents = PlainText(options.text, 1.0)
                documents = PlainText(options.text, calibration.bytes_per_token(service, documents.text))
            self.workload = Workload(options, documents, machine.context)
            machine.capacity = options.capacity or calibration.capacity(
                service, self.workload, options.calibration_jobs, progress.say
            )
        self.machine = machine
        self.results.quality_table = machine.quality_table
        self.results.capacity_tokens_per_s = machine.capacity
        jobs_per_s = machine.capacity / self.workload.mean_tokens()
        arrivals_s = self.workload.trace(options.first_seed, machine.capacity).arrivals[-1].at_s
        minutes = arrivals_s * options.seeds * len(self.configurations) / 60
        progress.done(
            f"capacity at plan 0: {machine.capacity:.0f} prompt tokens/s, {jobs_per_s:.2f} jobs/s; jobs will arrive for "
            f"{minutes:.1f} minutes in all, mixes not counted"
        )

    def _parse(self, layers):
        configurations = [parse(text, layers) for text in self.options.policy]
        labels = [configuration.label for configuration in configurations]
        if len(set(labels)) < len(labels):
            raise Complaint(f"--policy: the same configuration twice: {', '.join(labels)}")
        return configurations

    def _run_seed(self, seed):
        trace = self.workload.trace(seed, self.machine.capacity)
        jobs = self.workload.jobs(trace, seed)
        runs: dict[str, RunRecord] = {}
        for configuration in self.configurations:
            runs[configuration.label] = self._run(configuration, trace, jobs, seed)
        static = {c.plan: runs[c.label] for c in self.configurations if c.is_static}
        for configuration in self.configurations:
            if configuration.adaptive:
                self._run_mixes(configuration, runs[configuration.label], static, trace, jobs, seed)
        if self.options.clairvoyant:
            for configuration in self.configurations:
                if configuration.adaptive:
                    self.results.clairvoyant += clairvoyant_lines(
                        runs[configuration.label], static, self.machine.quality_table, self.options.workers
                    )

    def _run(self, configuration: Configuration, trace, jobs: list[TimedWork], seed: int) -> RunRecord:
        self.progress.step(f"seed {seed}, {configuration.label}")
        self.runs_done += 1
        own = configuration.daemon_settings(scale_of_terms(self.options))
        options = dataclasses.replace(self.service_options, settings=(*own, *self.service_options.settings))
        service = Service(options, self.folder / f"run-{self.runs_done}")
        with service:
            self._teach(service)
            record = replay(service, jobs, configuration, seed, self.settings, self.progress.say)
        record.doubled = count_doubled(service.database)
        record.bursts = [(burst.start_s, burst.end_s) for burst in trace.bursts]
        record.offered_load = offered_load(trace, self.machine.capacity)
        if not self.options.keep:
            shutil.rmtree(service.folder)
        self._keep(record)
        return record

    def _teach(self, service):
        """The daemon forgets costs when it ends, so each run's is shown the same jobs first."""
        if self.options.teach_jobs:
            static = [configuration for configuration in self.configurations if configuration.is_static]
            calibration.teach(service, self.workload, static, self.options.teach_jobs, self.settings.policy_defaults,
                              self.progress.say)  # fmt: skip

    def _run_mixes(self, adaptive, run, static, trace, jobs, seed):
        quality = measures.table_quality(run, self.machine.quality_table)
        if self.options.mixes == "none" or quality is None:
            return
        for mix in mixes_of_quality(adaptive.label, quality, sorted(static), self.machine.quality_table):
            if self.options.mixes == "real":
                self._run(mix, trace, jobs, seed)
            elif (record := computed_mix(mix, static, seed, self.options.workers)) is not None:
                self._keep(record)

    def _keep(self, record: RunRecord):
        self.results.runs.append(record)
        quality = measures.table_quality(record, self.machine.quality_table)
        if record.done:
            self.progress.done(f"{len(record.done)} jobs, makespan {record.makespan_s:.1f} s, p95 {P95(record):.2f} s, "
                               f"quality by table {quality:.4f}")  # fmt: skip
        else:
            self.progress.done("no job succeeded")


def clairvoyant_lines(run: RunRecord, static: dict[int, RunRecord], table: dict[int, float], workers: int) -> list[str]:
    """What the best choice of plans would have given for the run's quality, in sentences."""
    name = f"{run.configuration}, seed {run.seed}"
    if len(run.jobs) > MOST_JOBS:
        return [f"{name}: {len(run.jobs)} jobs are too many for the search; --jobs {MOST_JOBS} or fewer."]
    costs = [{plan: other.jobs[n].cost for plan, other in static.items()} for n in range(len(run.jobs))]
    if not static or run.lost or any(None in by_plan.values() for by_plan in costs):
        return [f"{name}: the search needs static runs in which all jobs have succeeded and were measured."]
    jobs = [PlannedJob(job.created_s, job.prompt_tokens, costs[n]) for n, job in enumerate(run.jobs)]
    quality = measures.table_quality(run, table)
    fast, short = (bound(jobs, table, quality, workers, objective) for objective in ("p95", "makespan"))
    if fast is None or short is None:
        return [f"{name}: no choice among the static plans {sorted(static)} has the quality {quality:.4f}."]
    plans, best_s = improved(jobs, fast.plans, table, quality, workers)
    proof = "exact" if fast.exact and short.exact else "not proven"
    lines = [
        f"{name}: measured p95 {P95(run):.2f} s, makespan {run.makespan_s:.2f} s at quality {quality:.4f}. Clairvoyant, plans "
        f"{sorted(static)}: p95 {best_s:.2f} s in the simulated engine (plans {' '.join(map(str, plans))}); bounds with jobs "
        f"one after the other: p95 {fast.p95_s:.2f} s, makespan {short.makespan_s:.2f} s ({proof})."
    ]
    own = [job.plan for job in run.jobs]
    if all(plan in by_plan for plan, by_plan in zip(own, costs)):
        own_s = engine_p95(jobs, own, workers)
        lines.append(f"{name}: its own choice has p95 {own_s:.2f} s in the simulated engine: x{own_s / best_s:.2f} of the best.")
    else:
        lines.append(f"{name}: it used plans that no static run was made of; name those with --policy static:PLAN to compare.")
    return lines
