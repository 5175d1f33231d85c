"""Error rules: an ordered table that turns PowerShell's error records into our codes and actions. The first fit
decides.

Owns matching and the reading of Microsoft's message formats. Matching is linear on purpose: substrings and prefixes, no
regular expressions, so an edited rule cannot stall the gateway. Refuses a table whose rules cannot be understood.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import orjson

from mesh_runtime.errors import InvalidInput
from pwsh_gateway.domain.operations import Module
from pwsh_gateway.domain.protocol import CmdletError

ErrorClass = Literal[
    "throttle", "transient", "auth", "session", "not-found", "conflict", "business", "permission", "defect", "unknown"
]
ErrorAction = Literal["retry", "retry-after", "reconnect", "recycle", "fail", "treat-as-success"]

RULES_COUNT_MAX = 200
TEXTS_COUNT_MAX = 30
TEXT_LENGTH_MAX = 300
MESSAGE_LENGTH_MAX = 4000
ATTEMPTS_MAX = 20

_EXCHANGE = re.compile(
    r"(?:Write-ErrorMessage : )?(?P<code>Ex[0-9A-F]{1,8})?\|(?P<type>[^|]*)\|(?P<text>.*)", re.DOTALL
)
_BRACKETED = re.compile(r"\[(?P<code>[A-Za-z]{1,60})\] ?: ?(?P<text>.*)", re.DOTALL)
_GRAPH = re.compile(
    r"Code: (?P<code>[A-Za-z_]{1,60}) +Message: (?P<text>.*?)(?: +InnerError:| +HttpStatusCode:|$)", re.DOTALL
)
_STATUS = re.compile(r"HttpStatusCode: (?P<status>[A-Za-z]{1,40})")
_REQUEST_ID = re.compile(
    r"(?:request-?id|correlationid)\W{1,6}([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE
)
_HTTP_NAMES = {
    "BadRequest": 400, "Unauthorized": 401, "Forbidden": 403, "NotFound": 404, "Conflict": 409, "TooManyRequests": 429,
    "InternalServerError": 500, "BadGateway": 502, "ServiceUnavailable": 503, "GatewayTimeout": 504,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What an error record says once Microsoft's message formats are taken apart."""

    text: str
    code: str
    exception: str
    fqid: str
    category: str
    cmdlet: str
    module: Module
    http: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """Every given key must match; of the values of one key, any. Text is compared without regard to case.

    `fqid` and `cmdlet` match from the beginning, `message` and `exception` anywhere.
    """

    message: tuple[str, ...] = ()
    exception: tuple[str, ...] = ()
    fqid: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    cmdlet: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    http: tuple[int, ...] = ()

    def fits(self, facts: Facts) -> bool:
        """Whether a rule with this match decides about the error."""
        return (
            _any(self.message, lambda text: text in facts.text)
            and _any(self.exception, lambda text: text in facts.exception)
            and _any(self.fqid, facts.fqid.startswith)
            and _any(self.category, lambda text: text == facts.category)
            and _any(self.cmdlet, facts.cmdlet.startswith)
            and (not self.module or facts.module in self.module)
            and (not self.http or facts.http in self.http)
        )


def _any(texts: tuple[str, ...], fits: Any) -> bool:
    return not texts or any(fits(text.casefold()) for text in texts)


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table. `attempts_max` bounds the action; None means the gateway's default."""

    id: str
    match: Match
    error_class: ErrorClass
    action: ErrorAction
    code: str
    outcome: Literal["refused", "failed"] = "failed"
    retryable: bool = False
    remedy: str | None = None
    attempts_max: int | None = None
    enabled: bool = True


UNKNOWN = Rule("unknown", Match(), "unknown", "fail", "cmdlet-error")


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The ordered table."""

    rules: tuple[Rule, ...] = field(default=())

    def rule_for(self, error: CmdletError, module: Module) -> Rule:
        """The first rule that fits; UNKNOWN when none does."""
        facts = facts_of(error, module)
        return next((rule for rule in self.rules if rule.enabled and rule.match.fits(facts)), UNKNOWN)


def facts_of(error: CmdletError, module: Module) -> Facts:
    """Takes Microsoft's formats apart: JSON as message, `Ex...|type|text`, `[Code] : text`, `Code: X Message: Y`."""
    message = error.message[:MESSAGE_LENGTH_MAX].strip()
    text, code, exception, http = message, "", error.type, error.http
    if message.startswith("{"):
        text, code, http = _json_message(message, http)
    elif (match := _EXCHANGE.match(message)) is not None:
        text, exception = match["text"].strip(), match["type"] or exception
    elif (match := _BRACKETED.match(message)) is not None:
        text, code = match["text"], match["code"]
    elif (match := _GRAPH.search(message)) is not None:
        code = match["code"]
        status = _STATUS.search(message)
        http = http or _HTTP_NAMES.get(status["status"] if status is not None else code)
    searched = f"{text}\n{message}\n{error.details[:MESSAGE_LENGTH_MAX]}"
    return Facts(
        text=searched.casefold(),
        code=code,
        exception=f"{exception} {error.reason}".casefold(),
        fqid=error.fqid.casefold(),
        category=error.category.casefold(),
        cmdlet=error.cmdlet.casefold(),
        module=module,
        http=http,
    )


def _json_message(message: str, http: int | None) -> tuple[str, str, int | None]:
    try:
        parsed = orjson.loads(message)
    except orjson.JSONDecodeError:
        return message, "", http
    if not isinstance(parsed, dict):
        return message, "", http
    nested = parsed.get("error")
    inner: Mapping[str, Any] = nested if isinstance(nested, dict) else parsed
    code = str(inner.get("code") or "")
    return str(inner.get("message") or message), code, http or _HTTP_NAMES.get(code)


def readable(error: CmdletError) -> str:
    """The part of the message that is meant for people."""
    message = error.message.strip()
    if message.startswith("{"):
        message = _json_message(message, None)[0]
    elif (match := _EXCHANGE.match(message)) is not None:
        message = match["text"].strip()
    return message[:1000] or "the cmdlet failed without a message"


def request_ids(error: CmdletError) -> tuple[str, ...]:
    """Microsoft's request and correlation ids named in an error."""
    found = _REQUEST_ID.findall(f"{error.message}\n{error.details}")
    return tuple(dict.fromkeys(identifier.lower() for identifier in found))


def parse_rules(raw: Any) -> RuleSet:
    """Reads the table from plain data (YAML or JSON). Raises InvalidInput naming the rule."""
    if not isinstance(raw, Sequence) or isinstance(raw, str):
        raise InvalidInput("the rules must be a list", code="invalid-rules")
    if len(raw) > RULES_COUNT_MAX:
        raise InvalidInput(f"there may be at most {RULES_COUNT_MAX} rules", code="invalid-rules")
    rules = tuple(_parse_rule(index, item) for index, item in enumerate(raw))
    twice = {rule.id for rule in rules if sum(other.id == rule.id for other in rules) > 1}
    if twice:
        raise InvalidInput(f"rule {min(twice)} is listed twice", code="invalid-rules")
    return RuleSet(rules)


def _parse_rule(index: int, raw: Any) -> Rule:
    where = f"rule {raw.get('id') or index}" if isinstance(raw, Mapping) else f"rule {index}"
    if not isinstance(raw, Mapping):
        raise InvalidInput(f"{where} must be an object", code="invalid-rules")
    rest = dict(raw)
    match = _parse_match(where, rest.pop("match", None))
    error_class = rest.pop("class", None)
    try:
        rule = Rule(match=match, error_class=error_class, **rest)
    except TypeError as error:
        raise InvalidInput(f"{where}: {error}".replace("Rule.__init__() ", ""), code="invalid-rules") from None
    _one_of(where, "class", rule.error_class, get_args(ErrorClass))
    _one_of(where, "action", rule.action, get_args(ErrorAction))
    _one_of(where, "outcome", rule.outcome, ("refused", "failed"))
    if not isinstance(rule.code, str) or re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", rule.code) is None:
        raise InvalidInput(f"{where}: code must be kebab-case", code="invalid-rules")
    if rule.attempts_max is not None and not 1 <= rule.attempts_max <= ATTEMPTS_MAX:
        raise InvalidInput(f"{where}: attempts_max must be between 1 and {ATTEMPTS_MAX}", code="invalid-rules")
    if not isinstance(rule.retryable, bool) or not isinstance(rule.enabled, bool):
        raise InvalidInput(f"{where}: retryable and enabled must be true or false", code="invalid-rules")
    return rule


def _parse_match(where: str, raw: Any) -> Match:
    if not isinstance(raw, Mapping) or not raw:
        raise InvalidInput(f"{where} needs a match: a rule for everything would hide the rest", code="invalid-rules")
    try:
        match = Match(**{key: tuple(value) if isinstance(value, list) else (value,) for key, value in raw.items()})
    except TypeError:
        known = ", ".join(Match.__dataclass_fields__)
        raise InvalidInput(f"{where}: a match knows {known}", code="invalid-rules") from None
    for key in Match.__dataclass_fields__:
        values: tuple[Any, ...] = getattr(match, key)
        kind = int if key == "http" else str
        if len(values) > TEXTS_COUNT_MAX or not all(
            isinstance(v, kind) and v and len(str(v)) <= TEXT_LENGTH_MAX for v in values
        ):
            raise InvalidInput(f"{where}: {key} must list up to {TEXTS_COUNT_MAX} values", code="invalid-rules")
    return match


def _one_of(where: str, name: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise InvalidInput(f"{where}: {name} must be one of {', '.join(known)}", code="invalid-rules")


def rules_as_data(rules: RuleSet) -> list[dict[str, Any]]:
    """The table in the form `parse_rules` reads."""
    listed = []
    for rule in rules.rules:
        match = {key: list(getattr(rule.match, key)) for key in Match.__dataclass_fields__ if getattr(rule.match, key)}
        rest = {key: getattr(rule, key) for key in ("id", "action", "code", "outcome", "retryable", "remedy")}
        listed.append(
            {
                **rest,
                "match": match,
                "class": rule.error_class,
                "attempts_max": rule.attempts_max,
                "enabled": rule.enabled,
            }
        )
    return listed
