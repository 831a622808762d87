"""Priors: the boxes and points that predictions are made relative to."""
