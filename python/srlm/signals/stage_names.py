"""The names of the signals' stages, for what must not import the signals themselves."""

VERDICTS, SCORES = "verdicts", "scores"


def stage_of(kind: str) -> str:
    """Return the name of the stage of `signal.kind`, which is also the stem of its file in M_t's folder."""
    return VERDICTS if kind == "judge" else SCORES
