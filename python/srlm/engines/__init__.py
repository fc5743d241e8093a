"""Engines: what turns token ids into sampled token ids. `base` is the protocol, `choose` picks one."""
