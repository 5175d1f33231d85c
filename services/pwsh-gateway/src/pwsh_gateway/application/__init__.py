"""Everything the gateway does.

Commands come in and are queued, visits are leased, served and written down, credentials are kept, settings are changed.
"""

from pwsh_gateway.application.accept_commands import AcceptCommands
from pwsh_gateway.application.change_settings import ChangeConfig, ReplaceRules, TerminateSession
from pwsh_gateway.application.finish_visit import FinishVisits, RecordIntents
from pwsh_gateway.application.follow_controls import FollowControls
from pwsh_gateway.application.keep_credentials import KeepCredentials
from pwsh_gateway.application.keep_house import ForgetOld, KeepLeases, WriteJournal
from pwsh_gateway.application.lease_visits import LeaseVisits
from pwsh_gateway.application.serve_visit import ServeVisit

__all__ = [
    "AcceptCommands",
    "ChangeConfig",
    "FinishVisits",
    "FollowControls",
    "ForgetOld",
    "KeepCredentials",
    "KeepLeases",
    "LeaseVisits",
    "RecordIntents",
    "ReplaceRules",
    "ServeVisit",
    "TerminateSession",
    "WriteJournal",
]
