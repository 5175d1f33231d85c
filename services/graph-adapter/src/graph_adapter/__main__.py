"""`python -m graph_adapter [api consumer relay worker]`, all roles by default; `python -m graph_adapter migrate`."""

import sys

from graph_adapter.main import serve
from mesh_runtime import roles

if __name__ == "__main__":
    sys.exit(roles.main(lambda: serve(sys.argv[1:])))
