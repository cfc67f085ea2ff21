"""`python -m captioner` is the `caption` command."""

import sys

from captioner.cli import main

sys.exit(main())
