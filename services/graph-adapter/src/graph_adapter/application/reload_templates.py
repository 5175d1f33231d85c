"""The operation templates in use, and replacing them by those on disk without a restart."""

from __future__ import annotations

from collections.abc import Callable

from graph_adapter.domain.template import Catalogue


class TemplateShelf:
    """Holds one consistent set. `current` never changes under a run: a reload puts another object in its place."""

    def __init__(self, load: Callable[[], Catalogue]) -> None:
        self._load = load
        self.current = load()

    def reload(self) -> Catalogue:
        """Raises InvalidInput listing the mistakes; the set in use then stays."""
        self.current = self._load()
        return self.current
