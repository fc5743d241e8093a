"""What `srlm status RUN_DIR key=value` says about the stages that would be recomputed."""

from srlm.cli.plan import stale_lines
from srlm.run.stage_runner import UPSTREAM_CHANGED


def test_dependents_share_a_line():
    stale = {
        "m2/pairs": "pairs.min_margin changed: 0.0 → 1.0",
        "m2/dpo": UPSTREAM_CHANGED,
        "m2/answers": "candidates.top_p changed: 0.9 → 0.5",
        "m3/prompts": UPSTREAM_CHANGED,
    }
    assert stale_lines(stale) == [
        "m2/pairs would be recomputed: pairs.min_margin changed: 0.0 → 1.0",
        "m2/answers would be recomputed: candidates.top_p changed: 0.9 → 0.5",
        "and their dependents: m2/dpo, m3/prompts",
    ]


def test_no_dependents():
    assert stale_lines({"m3/dpo": "dpo.beta changed: 0.1 → 0.2"}) == [
        "m3/dpo would be recomputed: dpo.beta changed: 0.1 → 0.2"
    ]


def test_nothing_to_recompute_is_said():
    [line] = stale_lines({})
    assert line.startswith("no stage would be recomputed")
