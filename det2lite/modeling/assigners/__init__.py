"""Assigners: which prediction learns from which object."""
