"""Parts of `bench_engine.py`."""
