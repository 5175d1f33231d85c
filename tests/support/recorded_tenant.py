"""A tenant of the simulator as a seed that builds it again, its people and their ids included.

Owns what is taken over: ids, licences, groups, numbers, policies, mailbox settings. Refuses deleted users: a user that
is gone is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

CERTIFICATE_SECONDS = 365 * 86_400.0
"""From the day of the replay on: a set does not end with its certificate."""
NOT_PROPERTIES = {
    "id", "createdDateTime", "manager_id", "manager_upn", "group_ids", "groups", "assignedLicenses", "licences",
    "deletedDateTime",
}  # fmt: skip


def seed(built_from: Mapping[str, Any], section: Callable[[str], Any], certificates: Sequence[bytes]) -> dict[str, Any]:
    """The seed `built_from` with what became of it; `section` answers what the admin API shows, keys are DER."""
    voices = {each["user_id"]: each for each in section("teams_users")}
    boxes = {each["user_id"]: each for each in section("mailboxes") if each["disconnected_at"] is None}
    numbers = {each["holder"]: each for each in section("numbers") if each["holder"]}
    (application,) = built_from["applications"]
    keys = [
        {"certificate": base64.b64encode(der).decode(), "expires_in_seconds": CERTIFICATE_SECONDS}
        for der in certificates
    ]
    return {
        **built_from,
        "groups": [{"display_name": group["displayName"], "id": group["id"]} for group in section("groups")],
        "numbers": [{"number": each["number"], "type": each["type"]} for each in section("numbers")],
        "users": [_user(user, voices, boxes, numbers) for user in section("users")],
        "applications": [{**application, "certificates": keys}],
    }


def _user(
    user: Mapping[str, Any], voices: Mapping[str, Any], boxes: Mapping[str, Any], numbers: Mapping[str, Any]
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "id": user["id"],
        "properties": {name: value for name, value in user.items() if name not in NOT_PROPERTIES},
        "licences": user["licences"],
        "groups": user["groups"],
    }
    if user["id"] in voices and user["licences"]:
        spec["policies"] = voices[user["id"]]["policies"]
    if user["id"] in boxes:
        spec |= {"mailbox": boxes[user["id"]]["settings"], "cas_mailbox": boxes[user["id"]]["cas"]}
    if user["id"] in numbers:
        spec["number"] = numbers[user["id"]]["number"]
    return spec
