"""A mailbox's coming and going with its licence. Owns the delays; the cmdlets live in mailboxes.py."""

from ucmesh_simulator.objects import Mailbox, User
from ucmesh_simulator.plans import mailbox_plans
from ucmesh_simulator.tenant import Tenant

GRACE_SECONDS = 30 * 24 * 3600.0


def provision_mailbox(tenant: Tenant, user: User) -> None:
    """Starts a mailbox for a user with an Exchange plan, or brings a disconnected one back inside its grace."""
    if not mailbox_plans() & user.plans.keys():
        return
    now = tenant.now()
    if user.mailbox is not None:
        left_at = user.mailbox.disconnected_at
        if left_at is None:
            return
        if now - left_at < GRACE_SECONDS:
            user.mailbox.disconnected_at = None
            return
    address = user.upn
    user.mailbox = Mailbox(
        guid=tenant.new_id(),
        visible_at=now + tenant.spread(tenant.knobs.mailbox_provisioning_seconds),
        primary_smtp_address=address,
        settings={"EmailAddresses": [f"SMTP:{address}"]},
    )
    tenant.user_id_by_address[address.lower()] = user.id


def disconnect_mailbox(tenant: Tenant, user: User) -> None:
    """A user mailbox without any Exchange plan is soft-deleted; a shared one stays."""
    mailbox = user.mailbox
    if mailbox is None or mailbox_plans() & user.plans.keys() or mailbox.disconnected_at is not None:
        return
    if mailbox.type_details == "UserMailbox":
        mailbox.disconnected_at = tenant.now()
