"""Parts of `bench_preference.py`."""
