"""From the trace's name to the jobs of a seed: lengths that the model takes, times that fit the machine's capacity, and
documents."""

from pathlib import Path

from . import generators, scaling, trace_files
from .arrivals import Arrival, Trace
from .complaint import Complaint
from .options import GENERATORS, load_of, scale_of_terms
from .replay import TimedWork

SQUARE_ON_S = 90.0  # before it is scaled; as long off
WAVES = 3
STEADY_S = 90.0
MEDIAN_OUTPUT = 56.0  # tokens of a generator's jobs: four answers
SAMPLE = 4000  # draws that tell a distribution's mean


class Workload:
    """The jobs of every seed. `context`: tokens of the model."""

    def __init__(self, options, documents, context: int):
        self.options, self.documents = options, documents
        longest = documents.longest(context)
        self.longest = min(longest, options.longest_tokens or longest)
        if self.longest < documents.shortest:
            raise Complaint(f"--longest-tokens is less than the shortest document, {documents.shortest} tokens")
        self.file: list[Arrival] = []
        self.timed = False
        if options.trace not in GENERATORS:
            arrivals, self.timed = trace_files.read_trace_file(Path(options.trace))
            self.file = scaling.fit_lengths(arrivals, documents.shortest, self.longest)
        median = min(options.median_tokens or context / 2, self.longest)
        self.lengths = generators.Lengths(median, MEDIAN_OUTPUT, documents.shortest, self.longest)

    def draw(self, rng) -> tuple[int, int]:
        """Prompt and output tokens of a job, distributed as the trace's."""
        if not self.file:
            return self.lengths.draw(rng)
        chosen = rng.choice(self.file)
        return chosen.prompt_tokens, chosen.output_tokens

    def mean_tokens(self) -> float:
        """Prompt tokens of a job, on average."""
        if self.file:
            return sum(arrival.prompt_tokens for arrival in self.file) / len(self.file)
        rng = generators.random.Random("lengths")
        return sum(self.lengths.draw(rng)[0] for _ in range(SAMPLE)) / SAMPLE

    def trace(self, seed: int, capacity: float) -> Trace:
        """Arrivals of a seed; `capacity`: prompt tokens a second at plan 0."""
        options, name = self.options, Path(self.options.trace).name
        rate, duration_s = load_of(options) * capacity, options.duration or STEADY_S
        if not self.file:
            trace = generators.generate(name, seed, self._phases(capacity), self.draw)
        elif not self.timed:
            trace = scaling.without_times(name, self.file, seed, rate, duration_s)
        elif options.time_scale:
            trace = scaling.window_of_time(name, self.file, seed, options.time_scale, duration_s)
        else:
            trace = scaling.window_of_load(name, self.file, seed, rate, duration_s)
        arrivals = trace.arrivals[: options.jobs] if options.jobs else trace.arrivals
        if not arrivals:
            raise Complaint(f"seed {seed}: no job arrives in so short a time; give a longer --duration or a higher --load")
        return Trace(trace.name, arrivals, trace.bursts)

    def jobs(self, trace: Trace, seed: int | str) -> list[TimedWork]:
        return [
            TimedWork(arrival.at_s, arrival.prompt_tokens, self.documents.make(f"{seed}-{number}", arrival))
            for number, arrival in enumerate(trace.arrivals)
        ]

    def _phases(self, capacity: float):
        options, scale = self.options, scale_of_terms(self.options)
        jobs_per_s = capacity / self.mean_tokens()
        rate, off_rate = load_of(options) * jobs_per_s, options.off_load * jobs_per_s
        if options.trace == "poisson":
            return [generators.Phase(0.0, options.duration or STEADY_S, rate)]
        half_s = SQUARE_ON_S / scale if options.trace == "square" else options.dwell / scale / 2
        if half_s <= 0:
            raise Complaint("adversarial needs a dwell time: --dwell must be more than 0")
        duration_s = options.duration or (WAVES if options.trace == "square" else 3 * WAVES) * 2 * half_s
        return generators.wave(duration_s, half_s, half_s, rate, off_rate)
