"""One simulated tenant: its objects, the indexes over them and the seeded randomness. Owns uniqueness and lookup; the
rules of each face live in their own modules."""

import random
import uuid
from typing import Any

from ucmesh_simulator.clock import SimClock
from ucmesh_simulator.effects import Effects
from ucmesh_simulator.faults import FaultPlan
from ucmesh_simulator.knobs import Knobs
from ucmesh_simulator.objects import Application, Group, Number, Policy, Sku, User
from ucmesh_simulator.requests_log import RequestsLog
from ucmesh_simulator.throttling import TenantBudget

REQUESTS_KEPT_MAX = 20_000


class Tenant:
    """The store of one tenant. Everything is a plain dict; one event loop writes, so no locks are needed."""

    def __init__(
        self, *, tenant_id: str, display_name: str, initial_domain: str, seed: str, clock: SimClock, knobs: Knobs
    ) -> None:
        self.id = tenant_id
        self.display_name = display_name
        self.initial_domain = initial_domain
        self.domains: dict[str, bool] = {initial_domain: True}  # verified domain -> managed (False: federated)
        self.country = "CH"
        self.created_at = clock.now()
        self.clock = clock
        self.knobs = knobs
        self.random = random.Random(f"{seed}:{tenant_id}")
        self.users: dict[str, User] = {}
        self.deleted_users: dict[str, User] = {}
        self.user_id_by_upn: dict[str, str] = {}
        self.user_id_by_address: dict[str, str] = {}
        self.user_ids_by_employee: dict[str, dict[str, None]] = {}
        self.groups: dict[str, Group] = {}
        self.skus: dict[str, Sku] = {}
        self.plan_services: dict[str, str] = {}
        self.plan_names: dict[str, str] = {}
        self.exclusive_plans: list[tuple[str, str]] = []
        self.plan_needs: dict[str, tuple[str, ...]] = {}
        self.applications: dict[str, Application] = {}  # by object id
        self.application_id_by_client: dict[str, str] = {}
        self.numbers: dict[str, Number] = {}
        self._held_numbers: dict[str, dict[str, None]] = {}  # holder -> numbers
        self.policies: dict[str, dict[str, Policy]] = {}  # type -> lower-case name -> policy
        self.global_policies: dict[str, str] = {}
        self.requests = RequestsLog(REQUESTS_KEPT_MAX)
        self.effects = Effects()
        self.faults = FaultPlan()
        self.budget = TenantBudget()
        self.size: str | None = None
        self._sequence = 0

    # -- time, identity, chance ---------------------------------------------------------------------------------------
    def now(self) -> float:
        return self.clock.now()

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def spread(self, seconds: float) -> float:
        """A provisioning delay with the tenant's seeded jitter."""
        jitter = self.knobs.provisioning_jitter
        return seconds if not jitter or not seconds else seconds * (1 + jitter * (2 * self.random.random() - 1))

    # -- users --------------------------------------------------------------------------------------------------------
    def add_user(self, user: User) -> None:
        self.users[user.id] = user
        self.user_id_by_upn[user.upn.lower()] = user.id
        self._index_employee(user, user.props.get("employeeId"))

    def find_user(self, key: str) -> User | None:
        """By object id or UPN, case-insensitive."""
        user = self.users.get(key)
        if user is None:
            lowered = key.lower()
            user = self.users.get(self.user_id_by_upn.get(lowered, lowered))
        return user

    def change_user(self, user: User, changes: dict[str, Any]) -> None:
        """Writes Graph properties and keeps the indexes; a None removes the value."""
        if "userPrincipalName" in changes:
            self.user_id_by_upn.pop(user.upn.lower(), None)
            self.user_id_by_upn[str(changes["userPrincipalName"]).lower()] = user.id
        if "employeeId" in changes:
            self._unindex_employee(user)
            self._index_employee(user, changes["employeeId"])
        user.props.update(changes)

    def remove_user(self, user: User) -> None:
        del self.users[user.id]
        self.user_id_by_upn.pop(user.upn.lower(), None)
        self._unindex_employee(user)

    def restore_user(self, user: User) -> None:
        self.deleted_users.pop(user.id, None)
        user.deleted_at = None
        self.add_user(user)

    def _index_employee(self, user: User, employee_id: object) -> None:
        if isinstance(employee_id, str):
            self.user_ids_by_employee.setdefault(employee_id.lower(), {})[user.id] = None

    def _unindex_employee(self, user: User) -> None:
        held = user.props.get("employeeId")
        if isinstance(held, str):
            self.user_ids_by_employee.get(held.lower(), {}).pop(user.id, None)

    # -- applications -------------------------------------------------------------------------------------------------
    def add_application(self, application: Application) -> None:
        self.applications[application.object_id] = application
        self.application_id_by_client[application.client_id.lower()] = application.object_id

    def application_of_client(self, client_id: str) -> Application | None:
        return self.applications.get(self.application_id_by_client.get(client_id.lower(), ""))

    # -- numbers -------------------------------------------------------------------------------------------------------
    def hold_number(self, number: Number, holder: str, category: str = "Primary") -> None:
        if number.holder != holder and (user := self.users.get(holder)) is not None:
            self.effects.given(user, "number", number.number)
        number.holder, number.category = holder, category
        self._held_numbers.setdefault(holder, {})[number.number] = None

    def drop_number(self, number: Number) -> None:
        """Takes a number from its holder; a Direct Routing number that was never uploaded leaves the inventory."""
        if (user := self.users.get(number.holder or "")) is not None:
            self.effects.taken(user, "number", number.number)
        self._held_numbers.get(number.holder or "", {}).pop(number.number, None)
        number.holder = number.category = None
        if not number.uploaded and number.number_type == "DirectRouting":
            self.numbers.pop(number.number, None)

    def numbers_of(self, holder: str) -> list[Number]:
        return [self.numbers[number] for number in self._held_numbers.get(holder, ())]

    # -- policies -----------------------------------------------------------------------------------------------------
    def add_policy(self, policy_type: str, name: str, grantable_at: float) -> None:
        self.policies.setdefault(policy_type, {})[name.lower()] = Policy(name, grantable_at)
