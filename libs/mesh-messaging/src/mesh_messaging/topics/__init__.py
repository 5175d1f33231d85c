"""Topics and the rights on them, from one file to the brokers.

topics.yaml ──load──> Declaration ─┐
                                   ├─compare──> Comparison ──carry_out──> brokers
brokers ────read────> State ───────┘            (changes, refusals, notes)

python -m mesh_messaging.topics apply FILE [--dry-run] [--prune]
"""

from mesh_messaging.topics.cluster import Cluster
from mesh_messaging.topics.comparison import Comparison, State, compare
from mesh_messaging.topics.declaration import Declaration, Right, Topic, load

__all__ = ["Cluster", "Comparison", "Declaration", "Right", "State", "Topic", "apply", "compare", "load"]


async def apply(cluster: Cluster, declaration: Declaration, *, prune: bool = False) -> Comparison:
    """Make the brokers hold what is declared, and say what was changed. With refusals nothing is changed."""
    comparison = compare(declaration, await cluster.read(), prune=prune)
    if not comparison.refusals:
        await cluster.carry_out(comparison.changes)
    return comparison
