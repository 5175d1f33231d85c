"""What chaos.py is made of. The TCP proxy is the one of the tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
