"""Samplers: which of the labelled predictions the loss looks at."""
