"""The state machine that runs one operation through its template's steps. No IO: requests come out, answers go in.

Owns the order of decisions after a round; refuses to send, sleep, store or read a clock.

    begin ──> ask ──> feed(answers) ──┬─> Continue   the next requests, or the next page, are ready: ask again
                                      ├─> LookUp     wants facts of our ledger: told(facts) decides on
                                      ├─> Wait       pause, then ask the same step again
                                      └─> Finished   a Result

A write is *uncertain* after an answer that does not prove it was not carried out: lost, throttled, unavailable, or
the worker died. Uncertainty is remembered; a step's `lost` rule leads to the look that comes before acting again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from graph_adapter.domain import operation as ops
from graph_adapter.domain.endings import final, given_up, most_urgent, refused, succeeded, template_fault
from graph_adapter.domain.expressions import TemplateFault
from graph_adapter.domain.operation import LeasedOperation, Result
from graph_adapter.domain.progress import (
    CONTINUE,
    LOST,
    Answer,
    Created,
    Directive,
    Finished,
    LookUp,
    Pauses,
    Progress,
    Request,
    Wait,
    load,
)
from graph_adapter.domain.recognition import ErrorTable, GraphError, Reaction
from graph_adapter.domain.template import Call, Repeatability, Rule, Template

HOP_COUNT_MAX = 24
# What a template can trip over in an answer of an unexpected shape. It must not reach the other operations of a round.
UNEXPECTED = (TemplateFault, TypeError, KeyError, AttributeError, IndexError, ValueError)


class Machine:
    """Decides for every operation alike; holds no state of its own."""

    def __init__(self, errors: ErrorTable, pauses: Pauses) -> None:
        self._errors = errors
        self._pauses = pauses

    def begin(self, leased: LeasedOperation, template: Template, context: Mapping[str, Any]) -> Progress:
        """Starts, or goes on after a pause or a crash. `context` is what `capabilities.context_of` makes."""
        progress = load(leased, template, context)
        if leased.interrupted and progress.step.writes:
            # The previous holder may have sent this write; nobody kept its answer.
            progress.uncertain = True
            self._enter_read_back(progress)
        return progress

    def ask(self, progress: Progress) -> Sequence[Request] | LookUp:
        """The requests to make now, or a question to the ledger. Raises TemplateFault when a value does not fit the
        template.
        """
        step = progress.step
        if progress.next_pages:
            return [Request(slot, "GET", url) for slot, url in progress.next_pages.items()]
        scope = progress.scope()
        if step.created_by is not None:
            return LookUp((str(step.created_by(scope)).lower(),))
        granted = progress.context.get("roles")
        requests = []
        for call in step.calls:
            if call.optional and granted is not None and not granted.intersection(call.permissions):
                _skip(progress, call.slot)
            else:
                requests.append(_request(call, scope))
        return requests

    def feed(self, progress: Progress, answers: Mapping[str, Answer]) -> Directive:
        """Takes the answers of one round. Never raises: a template that cannot deal with its answers fails the
        operation.
        """
        try:
            return self._feed(progress, answers)
        except UNEXPECTED as fault:
            return Finished(template_fault(fault))

    def told(self, progress: Progress, created: Mapping[str, Created], now: datetime) -> Directive:
        """Takes the ledger's answer to a LookUp; objects missing from `created` were not made by us."""
        errors, progress.held = progress.held, None
        try:
            if errors is None:
                entry = next(iter(created.values()), None)
                other = entry is not None and entry.operation_id != progress.facts["id"]
                progress.bodies["ledger"] = {"known": entry is not None, "other": other}
                return self._by_success(progress, None)
            window = timedelta(seconds=self._pauses.created_window_seconds)
            if any(now - entry.at < window for entry in created.values()):
                wait = self._pause(progress, self._pauses.missing, final(progress.template, most_urgent(errors)))
                if isinstance(wait, Wait):
                    return wait
            return self._by_error(progress, errors)
        except UNEXPECTED as fault:
            return Finished(template_fault(fault))

    def _feed(self, progress: Progress, answers: Mapping[str, Answer]) -> Directive:
        errors: dict[str, GraphError] = {}
        unanswered: set[int] = set()
        retry_after: float | None = None
        status: int | None = None
        for slot, answer in answers.items():
            if answer.request_id is not None:
                progress.request_ids.append(answer.request_id)
            if 200 <= answer.status < 300:
                status = answer.status
                self._keep(progress, slot, answer.body)
            elif answer.status <= LOST:
                unanswered.add(answer.status)
            elif (error := self._errors.recognise(answer.status, answer.body)) and not _tolerated(
                progress, slot, error
            ):
                errors[slot] = error
                retry_after = max(retry_after or 0, answer.retry_after_seconds or 0) or None
        if unanswered:
            return self._unanswered(progress, LOST in unanswered)
        if errors:
            return self._errored(progress, errors, retry_after)
        return CONTINUE if progress.next_pages else self._by_success(progress, status)

    def _keep(self, progress: Progress, slot: str, body: Any) -> None:
        call = progress.step.call(slot)
        if call.page_count_max == 1:
            progress.bodies[slot] = body
            return
        page = body if isinstance(body, dict) else {}
        items = page.get("value")
        kept = progress.bodies.setdefault(slot, {"value": [], "more": False})
        kept["value"].extend(items if isinstance(items, list) else ())
        progress.next_pages.pop(slot, None)
        count = progress.page_counts[slot] = progress.page_counts.get(slot, 0) + 1
        link = page.get("@odata.nextLink")
        if link is None:
            return
        root = str(progress.context["graph_url"])
        # A link to anywhere else would hand our token to a stranger.
        if not isinstance(link, str) or not link.startswith(root + "/"):
            raise TemplateFault("the next page lies outside Microsoft Graph")
        if count < call.page_count_max:
            progress.next_pages[slot] = link[len(root) :]
        else:
            kept["more"] = True

    def _unanswered(self, progress: Progress, lost: bool) -> Directive:
        ambiguous = lost and progress.step.writes
        if ambiguous:
            progress.uncertain = progress.dirty = True
            if (rule := progress.step.lost_rule) is not None:
                return self._follow(progress, rule)
        code = "ambiguous" if ambiguous else "timeout"
        result = ops.failed(code, "Microsoft Graph could not be reached, several times.", retryable=True)
        return self._pause(progress, self._pauses.transient, result)

    def _errored(self, progress: Progress, errors: Mapping[str, GraphError], retry_after: float | None) -> Directive:
        error = most_urgent(errors)
        if error.row.may_have_applied and progress.step.writes:
            progress.uncertain = progress.dirty = True
        if error.row.reaction is Reaction.THROTTLE:
            if progress.step.writes:
                self._enter_read_back(progress)
            progress.restart_step()
            # Only the deadline bounds how often Microsoft may put us off; what was tried before has failed at nothing.
            progress.waits = progress.hops = 0
            seconds = self._pauses.throttle_default_seconds if retry_after is None else retry_after
            return Wait(seconds, given_up(error), throttled=True)
        if error.row.reaction is Reaction.RENEW and not progress.renewed:
            progress.renewed = True
            progress.restart_step()
            return Wait(0, given_up(error), renew=True)
        if error.row.reaction is Reaction.MISSING and (objects := _objects(progress)):
            progress.held = errors
            return LookUp(objects)
        return self._by_error(progress, errors, retry_after)

    def _by_error(
        self, progress: Progress, errors: Mapping[str, GraphError], retry_after: float | None = None
    ) -> Directive:
        for rule in progress.step.rules:
            for slot, error in errors.items():
                if error.row.name in rule.errors and rule.of in (None, slot) and _applies(progress, rule):
                    return self._follow(progress, rule, error)
        error = most_urgent(errors)
        if error.row.reaction is not Reaction.REPEAT:
            return Finished(final(progress.template, error))
        if error.row.may_have_applied and progress.step.writes and (rule_lost := progress.step.lost_rule):
            return self._follow(progress, rule_lost)
        return self._pause(progress, self._pauses.transient, given_up(error), retry_after or 0)

    def _by_success(self, progress: Progress, status: int | None) -> Directive:
        if progress.step.compute:
            scope = progress.scope()
            progress.variables.update({name: value(scope) for name, value in progress.step.compute})
        for rule in progress.step.rules:
            if rule.errors or rule.lost or (rule.status is not None and rule.status != status):
                continue
            if _applies(progress, rule):
                return self._follow(progress, rule)
        raise TemplateFault(f"step {progress.step.name} has no rule for this answer")

    def _follow(self, progress: Progress, rule: Rule, error: GraphError | None = None) -> Directive:
        scope = progress.scope()
        if rule.success is not None:
            return Finished(succeeded(rule.success, scope))
        end = refused(rule.refusal, scope, error) if rule.refusal is not None else given_up(error)
        if rule.go is not None:
            progress.step = progress.template.steps[rule.go]
            progress.hops += 1
            progress.dirty = True
            progress.restart_step()
            if progress.hops > HOP_COUNT_MAX:
                return Finished(end)
        if rule.again or rule.pause:
            return self._pause(progress, self._pauses.transient, end)
        return CONTINUE if rule.go is not None else Finished(end)

    def _pause(
        self, progress: Progress, ladder: Sequence[float], end: Result, at_least_seconds: float = 0
    ) -> Directive:
        if progress.waits >= len(ladder):
            return Finished(end)
        seconds = max(ladder[progress.waits], at_least_seconds)
        progress.waits += 1
        progress.restart_step()
        return Wait(seconds, end)

    def _enter_read_back(self, progress: Progress) -> None:
        rule = progress.step.lost_rule
        if progress.template.repeatability is Repeatability.READ_BACK and rule is not None and rule.go is not None:
            progress.step = progress.template.steps[rule.go]
            progress.dirty = True


def _request(call: Call, scope: Mapping[str, Any]) -> Request:
    url: str = call.path(scope)
    if call.query:
        url += "?" + "&".join([f"{name}={value(scope)}" for name, value in call.query])
    return Request(call.slot, call.method, url, call.body(scope) if call.body is not None else None)


def _skip(progress: Progress, slot: str) -> None:
    progress.bodies[slot] = None
    progress.skipped.append(slot)


def _tolerated(progress: Progress, slot: str, error: GraphError) -> bool:
    call = progress.step.call(slot)
    if call.missing_ok and error.row.reaction is Reaction.MISSING:
        progress.bodies[slot] = None
        return True
    if call.optional and error.status == 403:
        _skip(progress, slot)
        return True
    return False


def _objects(progress: Progress) -> tuple[str, ...]:
    params = progress.leased.command.params
    return tuple(str(params[name]).lower() for name in progress.template.objects if params.get(name))


def _applies(progress: Progress, rule: Rule) -> bool:
    if rule.uncertain is not None and rule.uncertain != progress.uncertain:
        return False
    return rule.condition is None or bool(rule.condition(progress.scope()))
