"""`python -m likelier`: the same as `likelier`."""

import sys

from likelier.cli import main

sys.exit(main())
