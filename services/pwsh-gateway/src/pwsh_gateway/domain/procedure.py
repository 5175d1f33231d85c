"""How one operation is carried out: read, compare, record what would be lost, write. A generator without IO.

It yields an Invocation (send back its Answer) or an Intent (send back None once it is on disk), returns a Conclusion.

Owns the rule that makes every write repeatable: nothing is written before its former value is recorded, and an
operation that comes back after an unknown end looks before it acts again. Microsoft's reads lag behind its writes,
so what this gateway wrote a moment ago (`overlay`) outranks what a read says. Refuses to write when the deadline is
over; it then only looks.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pwsh_gateway.domain.catalogue import Entry, Read
from pwsh_gateway.domain.error_rules import Match, Rule, RuleSet, readable
from pwsh_gateway.domain.operations import Intent, Problem, Undo, Verdict, failed, refused
from pwsh_gateway.domain.protocol import Answer, CmdletError, Invocation, Lost, Raised, Returned

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Done:
    """The operation has its verdict. `written` are the fields now known to hold these values."""

    verdict: Verdict
    written: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Again:
    """No verdict yet; within the bounds of `rule` it may be tried again.

    `ambiguous` means a write may or may not have taken effect.
    """

    problem: Problem
    rule: Rule
    ambiguous: bool = False
    wait_seconds: float | None = None


Conclusion = Done | Again
Step = Invocation | Intent
Procedure = Generator[Step, Answer | None, Conclusion]

LOST = Rule("session-lost", Match(), "session", "retry", "session-lost", retryable=True)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the gateway knows beside the command. `intent` is there when an earlier attempt was about to write."""

    rules: RuleSet
    intent: Intent | None = None
    may_write: bool = True
    overlay: Mapping[str, Any] = field(default_factory=dict)


def perform(entry: Entry, params: Mapping[str, Any], circumstances: Circumstances) -> Procedure:
    """Carries out one operation with checked parameters."""
    answers: list[Mapping[str, Any]] = []
    for read in entry.reads:
        answer = yield Invocation(read.cmdlet, _resolve(read.arguments, _scope(params, read=read)), read.properties())
        result = _take_read(entry, read, answer, circumstances.rules)
        if not isinstance(result, Mapping):
            return result
        answers.append(result)
    scope = _scope(params, answers=answers, entry=entry)
    if entry.desired is None:
        return Done(Verdict("succeeded", output=_resolve(entry.output, scope)))
    change = _compare(entry, params, scope, answers[0], circumstances)
    if isinstance(change, Done):
        return change
    yield Intent(change.former)
    return (yield from _write(entry, params, scope, change, circumstances))


@dataclass(frozen=True, slots=True)
class _Change:
    """Fields that shall become something else, and what they were."""

    desired: Mapping[str, Any]
    former: Mapping[str, Any]


def _take_read(entry: Entry, read: Read, answer: Answer | None, rules: RuleSet) -> Mapping[str, Any] | Conclusion:
    match answer:
        case Returned(output):
            if len(output) > 1:
                return Done(refused("ambiguous-identity", f"{read.cmdlet} found {len(output)} objects instead of one"))
            if output:
                return output[0]
            missing = failed("not-found", f"{read.cmdlet} found nothing", retryable=True)
            return {} if read.optional else Done(missing)
        case Raised(error):
            rule = rules.rule_for(error, entry.module)
            if read.optional and rule.error_class == "not-found":
                return {}
            return conclude(error, rule, writes=False)
        case Lost(reason):
            return lost(reason, ambiguous=False)
        case None:
            raise ValueError("an invocation needs an answer")


def _compare(
    entry: Entry, params: Mapping[str, Any], scope: Mapping[str, Any], read: Mapping[str, Any], now: Circumstances
) -> _Change | Done:
    desired = _desired(entry, scope)
    observed = {
        name: entry.kind_of(name).read(read.get(_property(entry, name))) for name in {**desired, **_watched(entry)}
    }
    known = {name: now.overlay.get(name, value) for name, value in observed.items()}
    is_so = {
        name: _same(entry, name, observed[name], value) and _same(entry, name, known[name], value)
        for name, value in desired.items()
    }
    if now.intent is not None and all(_same(entry, n, observed[n], v) for n, v in desired.items()):
        former = {name: now.intent.former[name] for name in desired if name in now.intent.former}
        return _succeeded(entry, params, scope, desired, former)
    condition = {name: _resolve(value, scope) for name, value in entry.only_if.items()}
    former = {name: known[name] for name in desired}
    if not all(_same(entry, name, known[name], value) for name, value in condition.items()) or all(is_so.values()):
        return Done(Verdict("succeeded", output=_resolve(entry.output, {**scope, "former": former})))
    for refusal in entry.refuse:
        held = known[refusal.field]
        if held is not None and held != "" and not _same(entry, refusal.field, held, desired[refusal.field]):
            detail = {"field": refusal.field, "value": held}
            return Done(refused(refusal.code, refusal.message, remedy=refusal.remedy, detail=detail))
    if not now.may_write:
        return Done(failed("deadline-exceeded", "the deadline passed before the change was made", retryable=True))
    changing = {name: value for name, value in desired.items() if not is_so[name]}
    recorded = now.intent.former if now.intent is not None else {}
    return _Change(changing, {name: recorded.get(name, known[name]) for name in changing})


def _write(
    entry: Entry, params: Mapping[str, Any], scope: Mapping[str, Any], change: _Change, now: Circumstances
) -> Procedure:
    if entry.write is None:
        raise ValueError("only operations with a write have desired fields")
    arguments = _resolve(entry.write.arguments, scope)
    if isinstance(entry.desired, str):
        arguments |= change.desired
    answer = yield Invocation(entry.write.choose(params), arguments, None, writes=True)
    match answer:
        case Returned():
            return _succeeded(entry, params, scope, change.desired, change.former)
        case Raised(error):
            rule = now.rules.rule_for(error, entry.module)
            if rule.action == "treat-as-success":
                return _succeeded(entry, params, scope, change.desired, {})
            return conclude(error, rule, writes=True)
        case Lost(reason):
            return lost(reason, ambiguous=True)
        case None:
            raise ValueError("an invocation needs an answer")


def _succeeded(
    entry: Entry,
    params: Mapping[str, Any],
    scope: Mapping[str, Any],
    written: Mapping[str, Any],
    former: Mapping[str, Any],
) -> Done:
    real = {name: value for name, value in former.items() if not _same(entry, name, value, written[name])}
    output = _resolve(entry.output, {**scope, "former": former})
    undo = undo_of(entry, params, real, scope)
    return Done(Verdict("succeeded", changed=bool(real), output=output, undo=undo), written=dict(written))


def undo_of(
    entry: Entry, params: Mapping[str, Any], former: Mapping[str, Any], scope: Mapping[str, Any] | None = None
) -> Undo | None:
    """The reversal of a write that replaced `former`; None when nothing was replaced."""
    if entry.undo is None or not former:
        return None
    scope = {**(scope if scope is not None else _scope(params)), "former": former}
    return Undo(entry.undo["operation"], entry.undo["version"], _resolve(entry.undo["params"], scope))


def conclude(error: CmdletError, rule: Rule, *, writes: bool) -> Conclusion:
    """What an error record means for the operation."""
    detail = {"fqid": error.fqid, "type": error.type, "cmdlet": error.cmdlet, "rule": rule.id}
    problem = Problem(rule.code, readable(error), rule.retryable, {k: v for k, v in detail.items() if v}, rule.remedy)
    if rule.action in {"fail", "treat-as-success"}:
        return Done(Verdict(rule.outcome, problem=problem))
    ambiguous = writes and rule.error_class == "transient"
    return Again(problem, rule, ambiguous, error.retry_after_seconds)


def lost(reason: str, *, ambiguous: bool) -> Again:
    """What the end of a session in the middle of an operation means for it."""
    problem = Problem(
        "ambiguous" if ambiguous else "session-lost",
        f"the PowerShell session ended ({reason})",
        True,
        {"reason": reason},
    )
    return Again(problem, LOST, ambiguous)


def _property(entry: Entry, name: str) -> str:
    setting = entry.reads[0].settings.get(name)
    return setting.property if setting is not None else name


def _watched(entry: Entry) -> Mapping[str, Any]:
    return {**entry.only_if, **{refusal.field: None for refusal in entry.refuse}}


def _same(entry: Entry, name: str, observed: Any, desired: Any) -> bool:
    return entry.kind_of(name).same(observed, desired)


def _desired(entry: Entry, scope: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(entry.desired, str):
        return dict(_reference(entry.desired, scope))
    return {_resolve(name, scope): _resolve(value, scope) for name, value in (entry.desired or {}).items()}


def _scope(
    params: Mapping[str, Any],
    *,
    read: Read | None = None,
    answers: list[Mapping[str, Any]] | None = None,
    entry: Entry | None = None,
) -> dict[str, Any]:
    scope: dict[str, Any] = {"param": params}
    if read is not None:
        scope["settings"] = sorted({setting.property for setting in read.settings.values()})
    for index, answer in enumerate(answers or []):
        scope["read" if index == 0 else f"read{index + 1}"] = _named(entry, index, answer)
    return scope


def _named(entry: Entry | None, index: int, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if entry is None:
        return answer
    read = entry.reads[index]
    named = {
        name: read.fields[name].read(answer.get(name)) if name in read.fields else answer.get(name)
        for name in read.properties()
    }
    for name, setting in read.settings.items():
        # A setting whose property is called otherwise is shown under both names.
        named.setdefault(name, setting.kind.read(answer.get(setting.property)))
    return named


def _resolve(value: Any, scope: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return _reference(value, scope) if value.startswith("$") else value
    if isinstance(value, Mapping):
        resolved = {key: _resolve(part, scope) for key, part in value.items()}
        return {key: part for key, part in resolved.items() if part is not _MISSING}
    return value


def _reference(reference: str, scope: Mapping[str, Any]) -> Any:
    root, _, rest = reference[1:].partition(".")
    found = scope.get(root, _MISSING)
    if root == "former" and rest == "value":
        return next(iter(found.values()), None) if isinstance(found, Mapping) else _MISSING
    if rest:
        return found.get(rest, _MISSING) if isinstance(found, Mapping) else _MISSING
    return dict(found) if isinstance(found, Mapping) else found
