"""A short run of `tests.torture`: a few kills at random moments."""

from pathlib import Path

import pytest

from tests.torture import torture


@pytest.mark.slow
def test_a_killed_run_has_the_rows_of_an_uninterrupted_one(tiny_model: str, tmp_path: Path) -> None:
    found = torture(tiny_model, tmp_path, kills=3, seed=1)
    assert found.kills.total() == 3
    assert found.runs >= 1
    assert found.rows > 100
