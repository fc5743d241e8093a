"""The short form of `python -m tests.fuzz_readers`: broken files are read, or refused in one line."""

from tests.fuzz_readers import READERS, fuzz


def test_broken_files_are_read_or_refused(tmp_path):
    found = fuzz(tmp_path, seed=1, inputs=4000)
    assert found.defects == []
    for name in READERS:  # the trial says something only where both happen
        assert found.tried[name, "refused"] > 20
        assert found.tried[name, "accepted"] > 2
