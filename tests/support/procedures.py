"""Plays an operation of the gateway's catalogue as a script: these answers, those cmdlets."""

from collections.abc import Mapping, Sequence
from typing import Any

from pwsh_gateway.adapters import shipped
from pwsh_gateway.domain.operations import Intent
from pwsh_gateway.domain.procedure import Circumstances, Conclusion, Done, perform
from pwsh_gateway.domain.protocol import Answer, CmdletError, Invocation, Raised, Returned

CATALOGUE = shipped.catalogue()
RULES, _ = shipped.error_rules()
USER = "zoe.mueller@northwind.example"
NUMBER = "+41445551000"
ASSIGN = {"identity": USER, "telephone_number": NUMBER, "number_type": "DirectRouting"}
GRANT = {"identity": USER, "policy_type": "TeamsCallingPolicy", "policy_name": "AllowCalling"}
MISSING = Raised(CmdletError('Management object not found for identity "x".'))
UNAVAILABLE = Raised(CmdletError("The service is temporarily unavailable", http=503))


def user(**properties: Any) -> Returned:
    return Returned(({"Identity": "b7d9a0e2-9c1d-4a7b-8c56-1d2e3f405162", "UserPrincipalName": USER, **properties},))


def play(
    operation: str, params: Mapping[str, Any], answers: Sequence[Answer], **circumstances: Any
) -> tuple[list[Invocation | Intent], Conclusion]:
    """Runs the procedure to its end; every answer must be asked for."""
    procedure = perform(CATALOGUE.find(operation, 1), params, Circumstances(RULES, **circumstances))
    steps: list[Invocation | Intent] = []
    left = list(answers)
    answer: Answer | None = None
    try:
        while True:
            step = procedure.send(answer)
            steps.append(step)
            answer = left.pop(0) if isinstance(step, Invocation) else None
    except StopIteration as end:
        assert not left, "an answer nobody asked for"
        return steps, end.value


def shape(steps: Sequence[Invocation | Intent]) -> list[object]:
    return [step.cmdlet if isinstance(step, Invocation) else dict(step.former) for step in steps]


def done(conclusion: Conclusion) -> Done:
    assert isinstance(conclusion, Done), conclusion
    return conclusion
