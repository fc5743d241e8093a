"""A short run of `tests.fuzz_readers`: corrupted files are read, or refused with one line."""

from tests.fuzz_readers import READERS, fuzz


def test_corrupted_files_are_read_or_refused(tmp_path):
    found = fuzz(tmp_path, seed=1, inputs=4000)
    assert found.defects == []
    for name in READERS:  # otherwise the test would prove nothing
        assert found.tried[name, "refused"] > 20
        assert found.tried[name, "accepted"] > 2
