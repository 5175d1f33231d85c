"""`python -m ucmesh_cli`."""

from ucmesh_cli.main import main

main()
