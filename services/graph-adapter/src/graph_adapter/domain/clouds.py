"""Microsoft's clouds: where tokens come from, where Graph is, and the scope that fits.

Owns the table (source: Microsoft Graph documentation, national cloud deployments). Refuses to mix: a token of one
cloud is worthless in another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Cloud:
    """`login_url` without tenant, `graph_url` with version, `scope` of Microsoft Graph."""

    login_url: str
    graph_url: str
    scope: str


def _cloud(login: str, graph: str) -> Cloud:
    return Cloud(f"https://{login}", f"https://{graph}/v1.0", f"https://{graph}/.default")


CLOUDS = {
    "commercial": _cloud("login.microsoftonline.com", "graph.microsoft.com"),
    "gcc": _cloud("login.microsoftonline.com", "graph.microsoft.com"),
    "gcc-high": _cloud("login.microsoftonline.us", "graph.microsoft.us"),
    "dod": _cloud("login.microsoftonline.us", "dod-graph.microsoft.us"),
    "china": _cloud("login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn"),
}


def cloud_of(name: str, login_url: str | None = None, graph_url: str | None = None) -> Cloud:
    """The cloud by name (unknown names mean commercial), with addresses replaced for a simulator or a private
    gateway.
    """
    cloud = CLOUDS.get(name, CLOUDS["commercial"])
    return replace(
        cloud,
        login_url=(login_url or cloud.login_url).rstrip("/"),
        graph_url=(graph_url or cloud.graph_url).rstrip("/"),
    )
