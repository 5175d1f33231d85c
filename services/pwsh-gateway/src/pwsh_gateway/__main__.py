"""`python -m pwsh_gateway [api consumer relay worker]`, all roles by default; or `migrate`, `reseal`, `replay`."""

from __future__ import annotations

import sys

from mesh_runtime import roles
from pwsh_gateway.main import serve

if __name__ == "__main__":
    sys.exit(roles.main(lambda: serve(sys.argv[1:])))
