"""Parts of `bench_training.py`."""
