"""The API client of the running command."""

import typer

from ucmesh_cli.api import Api
from ucmesh_cli.profile import load_profile


def api(context: typer.Context) -> Api:
    """Made once a call; tests put their own into ``context.obj``."""
    root = context.find_root()
    if root.obj is None:
        root.obj = Api(load_profile())
    client: Api = root.obj
    return client
