"""What the services say about their own batching: the metrics endpoint of each, as figures that only grow.

Owns the choice and the names. Refuses anything by tenant or customer; the services offer none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

CHOSEN: Mapping[str, str] = {
    "ucmesh_consumer_batch_size_count": "transactions of the consumer",
    "ucmesh_consumer_batch_size_sum": "messages of the consumer",
    "ucmesh_relay_sent_total": "messages of the relay",
    "ucmesh_graph_rounds_total": "rounds of Graph requests",
    "ucmesh_graph_requests_total": "requests in rounds",
    "ucmesh_plan_transitions_total": "plans carried on",
}


@dataclass(frozen=True, slots=True)
class ServiceMetrics:
    """`urls` by service; a token is fetched for every reading. All labels but `cause` are summed."""

    urls: Mapping[str, str]
    token_url: str
    client_id: str
    client_secret: str

    async def read(self) -> dict[str, float]:
        """`SERVICE: WHAT` to the figure."""
        counts: dict[str, float] = {}
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            form = {"grant_type": "client_credentials"}
            answer = await http.post(self.token_url, data=form, auth=(self.client_id, self.client_secret))
            headers = {"authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}
            for service, url in self.urls.items():
                page = await http.get(f"{url}/metrics", headers=headers)
                counts |= _counts(service, page.raise_for_status().text)
        return counts


def _counts(service: str, page: str) -> dict[str, float]:
    counts: dict[str, float] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in CHOSEN:
                cause = f" by a {sample.labels['cause']}" if "cause" in sample.labels else ""
                name = f"{service}: {CHOSEN[sample.name]}{cause}"
                counts[name] = counts.get(name, 0.0) + sample.value
    return counts
