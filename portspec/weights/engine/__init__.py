"""Conversion of checkpoints from headers: names, shapes and byte ranges first, bytes last.

The modules of this folder need only Python, and torch where numbers must be computed; an emitted conversion
script holds a copy of them.
"""
