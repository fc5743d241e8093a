"""SFT and DPO on top of TRL, with the fused preference loss, checkpoints and saving.

It knows nothing of prompts, judges or the run directory: the input is rows, the output a model folder.
"""
