"""The one error the embedded stack shows a person: what happened and what to do next."""


class StackError(Exception):
    """A start or a run that cannot go on. `remedy` is the next step for the person at the terminal."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(f"{message}\n{remedy}" if remedy else message)
        self.message = message
        self.remedy = remedy
