"""det2lite: a configurable object-detection toolkit on PyTorch. Importing it loads nothing heavy."""

__version__ = "0.1.0"
