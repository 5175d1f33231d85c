"""The one error of the command: what went wrong and what to do next."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_SUCCEEDED = 3
"""The command worked, but what it watched or tested did not end well."""


class CliError(Exception):
    """Ends the command with exit code 1. ``next_step`` says what the person can do."""

    def __init__(self, message: str, next_step: str | None = None) -> None:
        super().__init__(message)
        self.message, self.next_step = message, next_step
