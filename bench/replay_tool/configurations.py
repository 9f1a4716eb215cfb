"""What is compared: a policy with its settings, or a mix of two static plans. One text names a configuration on the
command line and in the table:

    static:PLAN | manual:PLAN | threshold | deadline | NAME:KEY=VALUE,...

PLAN is a number or one of half, three-quarters, all. `static` is the policy, `manual` a plan that a person sets
(`dslactl plan set`). KEYs are those of the request policy_set (docs/protocol.md), and of the table `policy` of dslad.toml those
that a daemon is started with: `without` and the times of `threshold`."""

import random
from dataclasses import dataclass, field

from .complaint import Complaint

SHARES = {"zero": 0.0, "half": 0.5, "three-quarters": 0.75, "all": 1.0}
ADAPTIVE = ("threshold", "deadline")
THRESHOLD_MS = {"threshold_check_ms": 5_000, "threshold_cooldown_ms": 60_000}
_KEYS = {"min_quality": float, "target_drain_ms": int, "dwell_ms": int, "static_plan": int}
_PARTS = ("nothing", "expectation", "own_plans", "lengths")


def _part(text: str) -> str:
    if text not in _PARTS:
        raise ValueError
    return text


_START_KEYS = {"without": _part, "threshold_check_ms": int, "threshold_cooldown_ms": int}


@dataclass(frozen=True)
class Configuration:
    label: str
    policy: str  # manual, static, threshold, deadline
    plan: int = 0  # of manual and static
    settings: dict = field(default_factory=dict, hash=False)  # for policy_set
    start: dict = field(default_factory=dict, hash=False)  # keys of the table `policy` that the daemon is started with
    mix: tuple[int, int] | None = None  # a random part of the jobs has the second plan, the rest the first
    share: float = 0.0  # that part, of the prompt tokens

    @property
    def adaptive(self) -> bool:
        return self.policy in ADAPTIVE

    @property
    def is_static(self) -> bool:
        """One plan for all jobs."""
        return not self.adaptive and self.mix is None

    def daemon_settings(self, time_scale: float) -> list[str]:
        """KEY=VALUE for the daemon. The times of `threshold` that nobody names are divided by the scale, as all are."""
        start = dict(self.start)
        if self.policy == "threshold":
            for key, ms in THRESHOLD_MS.items():
                start.setdefault(key, max(1, round(ms / time_scale)))
        return [f"policy.{key}={value}" for key, value in start.items()]

    def apply(self, peer, defaults: dict):
        """Puts it in force; `defaults` are settings that the configuration does not name itself."""
        if self.policy == "manual":
            peer.request("plan_set", {"plan": self.plan, "reason": "replay"})
            return
        body = {**defaults, **self.settings, "policy": self.policy}
        if self.policy == "static":
            body["static_plan"] = self.plan
        peer.request("policy_set", body)

    def max_plans(self, tokens: list[int], seed: int) -> list[int | None]:
        """The largest plan that each job allows, None where the policy alone decides. `tokens`: of the jobs' prompts."""
        if self.mix is None:
            return [None] * len(tokens)
        first, second = self.mix
        chosen = random_part(tokens, self.share, random.Random(f"{self.label} {seed}"))
        return [second if number in chosen else first for number in range(len(tokens))]


def random_part(tokens: list[int], share: float, rng: random.Random) -> set[int]:
    """Numbers of random jobs that together have as nearly this share of the tokens as a random order allows."""
    wanted, have, chosen = share * sum(tokens), 0, set()
    order = list(range(len(tokens)))
    rng.shuffle(order)
    for number in order:
        if abs(have + tokens[number] - wanted) < abs(have - wanted):
            chosen.add(number)
            have += tokens[number]
    return chosen


def parse(text: str, layers: int) -> Configuration:
    """A configuration from the command line; `layers`: of the model's conversion order."""
    name, _, rest = text.partition(":")
    if name in ("static", "manual"):
        plan, _, rest = rest.partition(",")
        number = _plan(plan, layers, text)
        return Configuration(f"{name} {number}" + (f" {rest}" if rest else ""), name, number, *_settings(rest, text))
    if name not in ADAPTIVE:
        raise Complaint(f"--policy {text}: no such policy; there are static:PLAN, manual:PLAN, {', '.join(ADAPTIVE)}")
    return Configuration(f"{name} {rest}".strip(), name, 0, *_settings(rest, text))


def mix_of(policy: str, first: int, second: int, share: float) -> Configuration:
    """Jobs on plan `first`, the given share of the tokens on `second`, with the quality that `policy` had."""
    label = f"mix {first}+{second} for {policy}"
    return Configuration(label, "static", max(first, second), mix=(first, second), share=share)


def _plan(text, layers, whole):
    if text in SHARES:
        return round(layers * SHARES[text])
    if text.isdigit() and int(text) <= layers:
        return int(text)
    raise Complaint(f"--policy {whole}: the plan is a number from 0 to {layers}, or one of {', '.join(SHARES)}")


def _settings(text, whole):
    """Those for policy_set, and those that the daemon is started with."""
    settings, start = {}, {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        kinds, into = (_KEYS, settings) if key in _KEYS else (_START_KEYS, start)
        if key not in kinds:
            raise Complaint(f"--policy {whole}: no setting '{key}'; there are {', '.join(_KEYS | _START_KEYS)}")
        try:
            into[key] = kinds[key](value)
        except ValueError:
            wanted = f"none of {', '.join(_PARTS)}" if key == "without" else "no number"
            raise Complaint(f"--policy {whole}: '{value}' is {wanted}") from None
    return settings, start
