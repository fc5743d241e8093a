"""SFT and DPO on top of TRL, with the fused preference loss, checkpoints and saving.

It may not know prompts, judges or the run directory: rows in, a model folder out.
"""
