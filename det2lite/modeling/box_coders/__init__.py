"""Box coders: encode a target box relative to a prior, and decode a prediction, side by side."""
