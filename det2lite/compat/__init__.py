"""`import detectron2` of existing projects resolves to det2lite, whose modules are handed out under both names.

A script runs without a change by `python -m det2lite.compat train_net.py ...`, a module such as a test runner by
`python -m det2lite.compat -m pytest tests/`, a line of code by `python -m det2lite.compat -c "..."`. In code of
your own, call `install()` before the first import of `detectron2`. Importing this package does nothing and loads
nothing heavy.
"""

from det2lite.compat.alias import install, uninstall

__all__ = ["install", "uninstall"]
