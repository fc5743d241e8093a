"""The short form of `make torture`: a few kills at random moments."""

from pathlib import Path

import pytest

from tests.torture import torture


@pytest.mark.slow
def test_a_run_that_is_killed_ends_with_the_rows_of_one_that_is_not(tiny_model: str, tmp_path: Path) -> None:
    found = torture(tiny_model, tmp_path, kills=3, seed=1)
    assert found.kills.total() == 3
    assert found.runs >= 1
    assert found.rows > 100
