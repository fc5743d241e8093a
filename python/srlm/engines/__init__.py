"""Engines: token ids to sampled token ids. `base` is the protocol, `factory` picks an engine, `weight_check` checks it.

This package must not depend on prompts, judges or files of rows: an engine sees requests and yields completions.
"""
