"""The names of the signals' stages, for what must not import the signals themselves."""

VERDICTS, SCORES, LOGPROBS, COMPARISONS = "verdicts", "scores", "logprobs", "comparisons"
STAGES = {"judge": VERDICTS, "implicit": LOGPROBS, "pairwise": COMPARISONS}


def stage_of(kind: str) -> str:
    """Return the name of the stage of `signal.kind`, which is also the stem of its file in M_t's folder."""
    return STAGES.get(kind, SCORES)
