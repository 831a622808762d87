"""`python -m det2lite` is the `det2lite` command."""

import sys

from det2lite.cli.main import main

sys.exit(main())
