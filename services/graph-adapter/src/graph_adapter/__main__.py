"""`python -m graph_adapter [api consumer relay worker]`, all roles by default; or `migrate`, `reseal`, `replay`."""

import sys

from graph_adapter.main import serve
from mesh_runtime import roles

if __name__ == "__main__":
    sys.exit(roles.main(lambda: serve(sys.argv[1:])))
