"""`python -m orchestrator [api consumer relay worker]` runs; or `migrate`, `replay`."""

import sys

from mesh_runtime import roles
from orchestrator.main import run

if __name__ == "__main__":
    sys.exit(roles.main(lambda: run(sys.argv[1:])))
