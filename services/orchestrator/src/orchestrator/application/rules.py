"""What the rules' use cases are given: the stores, the plan engine's door, time and ids. Built once in main."""

from dataclasses import dataclass

from mesh_runtime.clock import Clock, IdGenerator
from orchestrator.domain.configuration import Configurations, Inventory
from orchestrator.domain.stores import Ledgers, People, Plans, Rulebooks, TenantCommands, Tenants
from orchestrator.participants.pacing import Pacing


@dataclass(frozen=True, slots=True)
class Rules:
    configurations: Configurations
    inventory: Inventory
    rulebooks: Rulebooks
    people: People
    tenants: Tenants
    ledgers: Ledgers
    plans: Plans
    commands: TenantCommands
    pacing: Pacing
    clock: Clock
    ids: IdGenerator
