"""Parameter names of other sources turned into ours; one file a source."""
