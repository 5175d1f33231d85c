"""What the tenant and the mesh hold at the end, and how a disturbed run differs from an undisturbed one.

Owns: the picture of a run and the comparison. What may differ is left out: ids, times, and which free number somebody
got.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from breaking.office import CUSTOMER, UNDER_WAY, Office

SECTIONS = "users,deleted_users,skus,mailboxes,teams_users,numbers,effects,requests"
CREATION = "graph POST 201"
DONE = "provisioned"
UNDONE = "compensated"


@dataclass(frozen=True, slots=True)
class Picture:
    """One run's end. `holdings`: what the tenant holds of an employee id, one entry a user."""

    holdings: dict[str, list[dict[str, Any]]]
    users: int
    seats: dict[str, int]
    numbers: int
    plans: list[dict[str, Any]]
    people: dict[str, dict[str, Any]]
    numbers_held: Counter[str]
    dead_letters: list[dict[str, Any]]
    creations: int
    """Users that the tenant was asked to create, and did."""
    effects: list[dict[str, Any]] = field(default_factory=list)
    """How often each licence and number was given to each person and taken from them; repeats that changed nothing are
    not in it."""

    @classmethod
    async def take(cls, office: Office, employee_ids: Sequence[str]) -> "Picture":
        tenant = await office.tenant(SECTIONS)
        numbers = await office.pages(f"/customers/{CUSTOMER}/numbers")
        return cls(
            holdings=_holdings(tenant),
            users=len(tenant["users"]),
            seats={sku["skuPartNumber"]: sku["consumed"] for sku in tenant["skus"]},
            numbers=sum(1 for number in tenant["numbers"] if number["holder"]),
            plans=await office.pages("/plans", customer=CUSTOMER),
            people={employee_id: await office.person(employee_id) for employee_id in employee_ids},
            numbers_held=Counter(number["employee_id"] for number in numbers if number["employee_id"]),
            dead_letters=await office.pages("/dead-letters"),
            creations=tenant["requests"]["counts"].get(CREATION, 0),
            effects=tenant["effects"],
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run of these people ends in when nobody disturbs it."""

    holdings: dict[str, list[dict[str, Any]]]
    statuses: dict[str, str]
    users: int
    seats: dict[str, int]
    numbers: int
    creations: int

    @classmethod
    def of(cls, undisturbed: Picture, everybody: Sequence[Mapping[str, Any]]) -> "Expected":
        """Whoever was not in the undisturbed run should end as somebody of their department did there."""
        people, models = undisturbed.people, {}
        for each in everybody:
            if each["employee_id"] in people:
                models[each["person"]["department"]] = each
        absent = [each for each in everybody if each["employee_id"] not in people]
        stand_ins = {each["employee_id"]: models[each["person"]["department"]] for each in absent}
        holdings, more = dict(undisturbed.holdings), []
        for each in absent:
            model = stand_ins[each["employee_id"]]
            former, given = (one["person"]["given_name"].lower() for one in (model, each))
            held = [
                {**one, "upn": one["upn"].replace(former, given, 1)}
                for one in undisturbed.holdings.get(model["employee_id"], [])
            ]
            holdings[each["employee_id"]] = held
            more += held
        seats = Counter(undisturbed.seats)
        seats.update(name for one in more for name in one["licences"])
        return cls(
            holdings=holdings,
            statuses={
                each["employee_id"]: str(people[stand_ins.get(each["employee_id"], each)["employee_id"]].get("status"))
                for each in everybody
            },
            users=undisturbed.users + len(more),
            seats=dict(seats),
            numbers=undisturbed.numbers + sum(one["numbers"] for one in more),
            creations=undisturbed.creations + len(absent),
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the verdict; `who` says exactly what is wrong. Every goal is none."""

    name: str
    who: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "figure": len(self.who),
            "unit": "count",
            "goal": 0,
            "holds": not self.who,
            "who": self.who,
        }


def compare(wanted: Expected, found: Picture) -> list[Row]:
    """The verdict over `found`, of the people of `wanted`."""
    ids = list(wanted.statuses)
    return [
        Row("joiners lost", [_story(found, each) for each in ids if _lost(wanted, found, each)]),
        Row("effects doubled", list(_doubled(wanted, found))),
        Row("plans stuck", [_plan(plan) for plan in found.plans if plan["state"] in UNDER_WAY]),
        Row(
            "plans called done that the tenant does not confirm",
            [
                f"{_story(found, each)}: held {found.holdings.get(each)}, wanted {wanted.holdings.get(each)}"
                for each in ids
                if found.people[each].get("status") == DONE and found.holdings.get(each) != wanted.holdings.get(each)
            ],
        ),
        Row(
            "compensations not complete",
            [
                _story(found, each)
                for each in ids
                if found.people[each].get("status") == UNDONE and (found.holdings.get(each) or found.numbers_held[each])
            ],
        ),
        Row(
            "people who ended in another way",
            [
                f"{_story(found, each)}; undisturbed: {wanted.statuses[each]}"
                for each in ids
                if found.people[each].get("status") != wanted.statuses[each]
            ],
        ),
        Row("dead letters", [str(letter) for letter in found.dead_letters]),
    ]


def _lost(wanted: Expected, found: Picture, employee_id: str) -> bool:
    """The mesh does not know them, or the tenant has nobody where it should have somebody."""
    missing = bool(wanted.holdings.get(employee_id)) and not found.holdings.get(employee_id)
    return missing or not found.people[employee_id].get("status")


def _doubled(wanted: Expected, found: Picture) -> Iterator[str]:
    for employee_id, held in found.holdings.items():
        if len(held) > 1:
            yield f"{employee_id} has {len(held)} users"
        for one in held:
            if one["numbers"] > 1 or len(set(one["licences"])) != len(one["licences"]):
                yield f"{employee_id} holds {one['numbers']} numbers and the licences {one['licences']}"
    for employee_id, count in found.numbers_held.items():
        if count > 1:
            yield f"{employee_id} holds {count} numbers in the mesh's records"
    for employee_id, plans in Counter(plan["employee_id"] for plan in found.plans).items():
        if plans > 1:
            yield f"{employee_id} has {plans} plans"
    if found.creations > wanted.creations:
        yield f"{found.creations} users created, {wanted.creations} undisturbed"
    if found.users > wanted.users:
        yield f"{found.users} users in the tenant, {wanted.users} undisturbed"
    if found.numbers > wanted.numbers:
        yield f"{found.numbers} numbers given away, {wanted.numbers} undisturbed"
    for sku, consumed in found.seats.items():
        if consumed > wanted.seats[sku]:
            yield f"{consumed} seats of {sku} consumed, {wanted.seats[sku]} undisturbed"
    yield from _given_twice(found)


def _given_twice(found: Picture) -> Iterator[str]:
    """Licences and numbers that changed hands more often than once to a person, and once back if they were undone."""
    numbers: defaultdict[str, list[str]] = defaultdict(list)
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for each in found.effects:
        who, kind, what, given, taken = (each[name] for name in ("person", "kind", "what", "given", "taken"))
        if who not in found.people:
            continue
        status = found.people[who].get("status")
        if given > 1 or taken > (1 if status == UNDONE else 0):
            yield f"{who} ({status}): {kind} {what} given {given} times, taken {taken} times"
        if kind == "number" and given:
            numbers[who].append(what)
            if status != UNDONE:
                holders[what].append(who)
    yield from (f"{who} was given the numbers {', '.join(some)}" for who, some in numbers.items() if len(some) > 1)
    yield from (f"number {one} was given to {', '.join(all_)}" for one, all_ in holders.items() if len(all_) > 1)


def _story(found: Picture, employee_id: str) -> str:
    person = found.people[employee_id]
    return f"{employee_id} (plan {person.get('plan_id')}): {person.get('status')}, {person.get('reason')}"


def _plan(plan: dict[str, Any]) -> str:
    return f"{plan['employee_id']} (plan {plan['plan_id']}): {plan['state']}, {plan['operations']}, {plan['reason']}"


def _holdings(tenant: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    employee = {user["id"]: user.get("employeeId") for user in tenant["users"]}
    mailboxes = {mailbox["user_id"]: mailbox for mailbox in tenant["mailboxes"]}
    teams = {each["user_id"]: each for each in tenant["teams_users"]}
    numbers = Counter(number["holder"] for number in tenant["numbers"] if number["holder"])
    holdings: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for user in tenant["users"]:
        mailbox, voice = mailboxes.get(user["id"], {}), teams.get(user["id"], {})
        settings = mailbox.get("settings", {})
        holdings[str(user.get("employeeId"))].append(
            {
                "upn": user["userPrincipalName"],
                "enabled": user["accountEnabled"],
                "groups": sorted(user["groups"]),
                "licences": sorted(user["licences"]),
                "manager": employee.get(user["manager_id"]),
                "numbers": numbers[user["id"]],
                "voice": voice.get("enterprise_voice"),
                "policies": voice.get("policies"),
                "mailbox": {name: value for name, value in settings.items() if name != "EmailAddresses"},
                "cas": mailbox.get("cas"),
            }
        )
    return dict(holdings)
