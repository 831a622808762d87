"""The `det2lite` command: one module for each subcommand, imported when that one is called."""
