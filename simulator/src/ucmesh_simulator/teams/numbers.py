"""Set-, Remove- and Get-CsPhoneNumberAssignment. Owns the order of the refusals and the side effects on the user's
voice setting."""

import re
from typing import Any

from ucmesh_simulator.objects import Number, User
from ucmesh_simulator.plans import feature_plans
from ucmesh_simulator.powershell.call import CmdletCall, Output
from ucmesh_simulator.powershell.errors import CmdletError, generated, user_not_in_teams
from ucmesh_simulator.powershell.filters import FilterError, parse_filter
from ucmesh_simulator.teams.people import features_of, find_teams_user
from ucmesh_simulator.teams.provisioning import free_number
from ucmesh_simulator.teams.users import bad_filter

TYPES = {"directrouting": "DirectRouting", "callingplan": "CallingPlan", "operatorconnect": "OperatorConnect"}
NO_LOCATION = "00000000-0000-0000-0000-000000000000"
TOP_DEFAULT, TOP_MAX = 500, 1000
FOREVER = float("inf")
ON_PREMISES = (
    "The user already has a telephone number set in the on-premises Active Directory and synchronized to the cloud. To "
    "manage this user's telephone number in the cloud, first clear the phone number in the on-premises directory and "
    "synchronize to Active Directory."
)
_NUMBER = re.compile(r"^\+?(\d{3,15})(;ext=\d{1,10})?$")


def set_assignment(call: CmdletCall) -> Output:
    """Success is silence."""
    if call.has("EnterpriseVoiceEnabled"):
        _set_enterprise_voice(call)
    elif call.text("Identity") is None:
        _update_number(call)
    else:
        _assign(call)
    return []


def _assign(call: CmdletCall) -> None:
    tenant = call.tenant
    user = _user(call)
    text = _normal(call)
    kind = _type(call)
    assert user.teams is not None
    if user.teams.on_prem_line_uri or user.teams.lost_phone:
        raise generated(call.cmdlet, "BadRequest", ON_PREMISES)
    _check_licence(call, user, kind)
    number = tenant.numbers.get(text)
    if number is None and kind == "DirectRouting":
        number = Number(text, kind, country=tenant.country, uploaded=False)
    if number is None or number.number_type != kind:
        raise _not_found(call, text)
    if number.holder not in {None, user.id}:
        raise generated(
            call.cmdlet, "BadRequest", f"Telephone Number '{text}' has already been assigned to another user"
        )
    if number.blocked_until is not None and number.blocked_until > tenant.now():
        raise generated(call.cmdlet, "BadRequest", f"Telephone Number '{text}' is blocked from assignment")
    category = (call.text("AssignmentCategory") or "Primary").capitalize()
    for held in tenant.numbers_of(user.id):
        if held.category == category and held is not number:
            free_number(tenant, held, user)
    tenant.numbers[text] = number
    tenant.hold_number(number, user.id, category)
    if call.text("LocationId") is not None:
        number.location_id = None if call.text("LocationId") == "null" else call.text("LocationId")
    if category == "Primary":
        user.teams.line_uri = f"tel:{text}"
    user.teams.enterprise_voice = True


def _check_licence(call: CmdletCall, user: User, kind: str) -> None:
    features = features_of(call.tenant, user)
    if "PhoneSystem" not in features or (kind == "CallingPlan" and "CallingPlan" not in features):
        message = f"User '{call.text('Identity')}' lacks appropriate licenses to assign a '{kind}' number"
        raise generated(call.cmdlet, "BadRequest", message)


def _set_enterprise_voice(call: CmdletCall) -> None:
    user = _user(call)
    wanted = call.parameters["enterprisevoiceenabled"] is True
    if wanted and not feature_plans()["PhoneSystem"] & user.plans.keys():
        raise generated(
            call.cmdlet,
            "BadRequest",
            f"User '{call.text('Identity')}' lacks appropriate licenses to enable enterprise voice",
        )
    assert user.teams is not None
    user.teams.enterprise_voice = wanted


def _update_number(call: CmdletCall) -> None:
    """Location, network site or reverse lookup of a number of the tenant."""
    text = _normal(call)
    number = call.tenant.numbers.get(text)
    if number is None:
        raise _not_found(call, text)
    location = call.text("LocationId")
    if location is not None:
        number.location_id = None if location == "null" else location


def remove_assignment(call: CmdletCall) -> Output:
    user = _user(call)
    if call.flag("RemoveAll"):
        for number in call.tenant.numbers_of(user.id):
            free_number(call.tenant, number, user)
        return []
    text, kind = _normal(call), _type(call)
    held = call.tenant.numbers.get(text)
    if held is None or held.number_type != kind or held.holder != user.id:
        raise _not_found(call, text)
    free_number(call.tenant, held, user)
    days = call.number("AssignmentBlockedDays")
    if call.flag("AssignmentBlockedForever"):
        held.blocked_until = FOREVER
    elif days is not None:
        held.blocked_until = call.tenant.now() + days * 24 * 3600
    return []


def _user(call: CmdletCall) -> User:
    user = find_teams_user(call.tenant, call.text("Identity") or "")
    if user is None:
        raise user_not_in_teams(call.cmdlet)
    return user


def _normal(call: CmdletCall) -> str:
    """`+` and digits, extension kept; raises for anything else, also for `tel:`."""
    text = call.text("TelephoneNumber") or ""
    match = _NUMBER.match(text)
    if match is None:
        raise generated(call.cmdlet, "BadRequest", f"Telephone Number '{text}' is not a valid telephone number")
    return f"+{match[1]}{match[2] or ''}"


def _type(call: CmdletCall) -> str:
    text = call.text("NumberType") or ""
    kind = TYPES.get(text.lower())
    if kind is None:
        raise generated(call.cmdlet, "BadRequest", f"NumberType '{text}' is not valid")
    return kind


def _not_found(call: CmdletCall, number: str) -> CmdletError:
    return generated(
        call.cmdlet, "BadRequest", f"Telephone Number '{number}' is not found from tenant '{call.tenant.id}'"
    )


# -- reading -----------------------------------------------------------------------------------------------------------
def get_assignment(call: CmdletCall) -> Output:
    """Ascending by number, 500 rows unless -Top says otherwise, at most 1,000."""
    rows = [_render(call, number) for number in sorted(call.tenant.numbers.values(), key=lambda one: one.number)]
    rows = [row for row in rows if _wanted(call, row)]
    text = call.text("Filter")
    if text is not None:
        try:
            matches = parse_filter(text)
        except FilterError as wrong:
            raise bad_filter(call.cmdlet, wrong) from wrong
        rows = [row for row in rows if matches({name.lower(): value for name, value in row.items()})]
    skip, top = call.number("Skip") or 0, call.number("Top")
    return rows[skip : skip + min(TOP_DEFAULT if top is None else top, TOP_MAX)]


def _wanted(call: CmdletCall, row: dict[str, Any]) -> bool:
    number = row["TelephoneNumber"]
    for name, fits in (
        ("TelephoneNumber", lambda value: number == f"+{value.lstrip('+')}"),
        ("TelephoneNumberContain", lambda value: value in number),
        ("TelephoneNumberStartsWith", lambda value: number.lstrip("+").startswith(value.lstrip("+"))),
        ("TelephoneNumberGreaterThan", lambda value: number > f"+{value.lstrip('+')}"),
        ("TelephoneNumberLessThan", lambda value: number < f"+{value.lstrip('+')}"),
        ("AssignedPstnTargetId", lambda value: row["AssignedPstnTargetId"] == _target(call, value)),
        ("CapabilitiesContain", lambda value: set(value.split(",")) <= set(row["Capability"])),
    ):
        value = call.text(name)
        if value is not None and not fits(value):
            return False
    plain = (
        "NumberType",
        "PstnAssignmentStatus",
        "ActivationState",
        "AssignmentCategory",
        "IsoCountryCode",
        "LocationId",
    )
    return all(call.text(name) is None or str(row[name]).lower() == str(call.text(name)).lower() for name in plain)


def _target(call: CmdletCall, value: str) -> str:
    user = find_teams_user(call.tenant, value)
    return user.id if user is not None else value


def _render(call: CmdletCall, number: Number) -> dict[str, Any]:
    blocked = number.blocked_until is not None and number.blocked_until > call.tenant.now()
    state = "NotBlocked" if not blocked else "BlockedForever" if number.blocked_until == FOREVER else "BlockedUntil"
    return {
        "TelephoneNumber": number.number,
        "OperatorId": None,
        "NumberType": number.number_type,
        "ActivationState": "Activated",
        "AssignedPstnTargetId": number.holder,
        "AssignmentCategory": number.category,
        "Capability": ["ConferenceAssignment", "VoiceApplicationAssignment", "UserAssignment"],
        "City": number.city,
        "CivicAddressId": NO_LOCATION,
        "IsoCountryCode": number.country,
        "IsoSubdivision": None,
        "LocationId": number.location_id or NO_LOCATION,
        "LocationUpdateSupported": True,
        "NetworkSiteId": None,
        "PortInOrderStatus": None,
        "PstnAssignmentStatus": "UserAssigned" if number.holder else "Unassigned",
        "PstnPartnerId": None,
        "PstnPartnerName": None,
        "NumberSource": "Online",
        "ReverseNumberLookup": [],
        "Tag": [],
        "AssignmentBlockedState": state,
    }
