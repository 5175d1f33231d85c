"""`python -m cert_manager [api consumer relay worker]`, all roles by default; or `migrate`, `reseal`, `replay`."""

import sys

from cert_manager.main import run
from mesh_runtime import roles

if __name__ == "__main__":
    sys.exit(roles.main(lambda: run(sys.argv[1:])))
