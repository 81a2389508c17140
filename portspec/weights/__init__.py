"""Weights: what checkpoints hold, where each tensor goes, and how its bytes get there.

`engine` is the part that an emitted conversion script carries with it, so it needs nothing of portspec.
"""
