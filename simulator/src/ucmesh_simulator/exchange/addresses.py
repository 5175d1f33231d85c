"""A mailbox's proxy addresses. Owns the change rules: replace or add and remove, one primary, no address twice in the
tenant."""

from typing import Any

from ucmesh_simulator.exchange.recipients import refusal
from ucmesh_simulator.objects import User
from ucmesh_simulator.powershell.call import CmdletCall

_MULTIPLE_PRIMARY = "There are multiple primary addresses; only one is allowed."


def changed_addresses(call: CmdletCall, user: User, held: list[str], wanted: Any) -> list[str]:
    """The list after the change; raises ProxyAddressExistsException and friends."""
    if isinstance(wanted, dict):
        lowered = {key.lower(): one if isinstance(one, list) else [one] for key, one in wanted.items()}
        removed = {_bare(one) for one in lowered.get("remove", [])}
        after = [one for one in held if _bare(one) not in removed]
        for added in lowered.get("add", []):
            after = _with(after, _typed(str(added)))
    else:
        after = []
        for given in wanted or []:
            after = _with(after, _typed(str(given)))
    if sum(one.startswith("SMTP:") for one in after) > 1:
        raise refusal(
            call, "Ex8C3F11", "Microsoft.Exchange.Data.Directory.InvalidADObjectOperationException", _MULTIPLE_PRIMARY
        )
    if after and not primary_of(after):
        after[0] = f"SMTP:{after[0].split(':', 1)[1]}"
    for address in after:
        _check_free(call, user, address)
    return after


def primary_of(addresses: list[str]) -> str | None:
    return next((one.split(":", 1)[1] for one in addresses if one.startswith("SMTP:")), None)


def _with(addresses: list[str], added: str) -> list[str]:
    """A new primary turns the former one into an alias."""
    rest = [one for one in addresses if _bare(one) != _bare(added)]
    if added.startswith("SMTP:"):
        rest = [f"smtp:{one.split(':', 1)[1]}" if one.startswith("SMTP:") else one for one in rest]
        return [added, *rest]
    return [*rest, added]


def _typed(address: str) -> str:
    return address if ":" in address else f"smtp:{address}"


def _bare(address: object) -> str:
    return str(address).split(":", 1)[-1].lower()


def _check_free(call: CmdletCall, user: User, address: str) -> None:
    bare = _bare(address)
    domain = bare.partition("@")[2]
    if domain not in call.tenant.domains:
        raise refusal(
            call,
            "Ex5D2A70",
            "Microsoft.Exchange.Management.RecipientTasks.RecipientTaskException",
            f"You can't use the domain because it's not an accepted domain for your organization: \"{domain}\".",
        )
    holder = call.tenant.user_id_by_address.get(bare) or call.tenant.user_id_by_upn.get(bare)
    if holder is not None and holder != user.id:
        other = call.tenant.users.get(holder)
        raise refusal(
            call,
            "ExE4B0C7",
            "Microsoft.Exchange.Data.Directory.ProxyAddressExistsException",
            f'The proxy address "{address}" is already being used by the proxy addresses or LegacyExchangeDN of '
            f'"{other.props.get("displayName") if other else holder}". Please choose another proxy address.',
        )
