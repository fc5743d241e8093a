"""The parts of `bench_preference.py`."""
