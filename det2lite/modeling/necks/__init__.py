"""Necks: each wraps a backbone and is a backbone."""
