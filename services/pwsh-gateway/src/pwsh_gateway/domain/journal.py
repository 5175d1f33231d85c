"""The journal of sessions: the latest state of each, and the events to tell, until they are written down.

Owns when a session counts as started and as ended. Refuses to lose anything: a page that could not be written is
put back.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime

from pwsh_gateway.domain.sessions import SessionEvent, SessionRecord


@dataclass(slots=True)
class JournalPage:
    """Changes of sessions not yet written down."""

    records: dict[uuid.UUID, SessionRecord] = field(default_factory=dict)
    events: list[SessionEvent] = field(default_factory=list)

    def is_empty(self) -> bool:
        """Nothing to write."""
        return not self.records and not self.events


class SessionJournal:
    """One replica's journal."""

    def __init__(self) -> None:
        self._page = JournalPage()
        self._told: set[uuid.UUID] = set()

    def note(self, record: SessionRecord, now: datetime) -> None:
        """Takes the present state of a session."""
        self._page.records[record.session_id] = record
        if record.state == "dead":
            if record.session_id in self._told:
                self._told.discard(record.session_id)
                self._page.events.append(SessionEvent.about(record, "ended", record.reason, now))
        elif record.connected_at is not None and record.session_id not in self._told:
            self._told.add(record.session_id)
            reason = "canary" if record.canary else None
            self._page.events.append(SessionEvent.about(record, "started", reason, now))

    def take(self) -> JournalPage:
        """Everything since the last time."""
        page, self._page = self._page, JournalPage()
        return page

    def put_back(self, page: JournalPage) -> None:
        """What could not be written comes first again; newer states of a session win."""
        self._page = JournalPage({**page.records, **self._page.records}, [*page.events, *self._page.events])
