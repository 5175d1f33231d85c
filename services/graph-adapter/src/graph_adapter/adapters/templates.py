"""Reads template files, validates and compiles them into the domain's Catalogue.

Owns where templates come from: the files of this package, overlaid by those of an optional folder (same file name
wins), so an operator can add or correct an operation without a release. Refuses half a set: one mistake and nothing
is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from graph_adapter.adapters.template_files import (
    EndFile,
    ErrorFile,
    ErrorsFile,
    RequestFile,
    RuleFile,
    StepFile,
    TemplateFile,
)
from graph_adapter.domain.expressions import Compiler, TemplateError
from graph_adapter.domain.functions import GUARDED
from graph_adapter.domain.recognition import ErrorRow, ErrorTable
from graph_adapter.domain.template import (
    Call,
    Catalogue,
    Parameter,
    Refusal,
    Repeatability,
    Rule,
    Step,
    Success,
    Template,
)
from mesh_runtime.errors import InvalidInput

ERRORS_FILE = "errors.yaml"
FILE_SIZE_MAX_BYTES = 256 * 1024
FILE_COUNT_MAX = 500

_SECRET_FUNCTIONS = frozenset({"new-password"})
_LEDGER_SLOT = "ledger"
_ANSWER_SLOT = "answer"


def load_catalogue(folder: Path | None = None) -> Catalogue:
    """Loads all templates. Raises InvalidInput with one line per mistake (file, place, what is wrong)."""
    texts = _read(folder)
    mistakes: list[str] = []
    digest = hashlib.sha256("\0".join(f"{name}\0{text}" for name, text in sorted(texts.items())).encode())
    errors = _error_table(texts.pop(ERRORS_FILE, ""), mistakes)
    templates: dict[tuple[str, int], Template] = {}
    for name, text in sorted(texts.items()):
        try:
            template = _template(name, text, errors)
        except (ValidationError, TemplateError, yaml.YAMLError) as error:
            mistakes.append(f"{name}: {_explain(error)}")
        else:
            templates[template.key] = template
    mistakes.extend(_dangling_undos(templates))
    if mistakes:
        raise InvalidInput(
            "the operation templates are not valid: " + "; ".join(mistakes),
            code="templates-invalid",
            remedy="Correct the files; the templates in use stay as they are.",
            detail={"mistakes": mistakes},
        )
    return Catalogue(templates, errors, digest.hexdigest()[:16])


def _read(folder: Path | None) -> dict[str, str]:
    packaged = resources.files("graph_adapter").joinpath("templates")
    texts = {item.name: item.read_text("utf-8") for item in packaged.iterdir() if item.name.endswith(".yaml")}
    if folder is not None:
        files = sorted(folder.glob("*.yaml"))
        if len(files) > FILE_COUNT_MAX:
            raise InvalidInput(f"more than {FILE_COUNT_MAX} template files", code="templates-invalid")
        for path in files:
            if path.stat().st_size > FILE_SIZE_MAX_BYTES:
                raise InvalidInput(f"{path.name}: larger than {FILE_SIZE_MAX_BYTES} bytes", code="templates-invalid")
            texts[path.name] = path.read_text("utf-8")
    return texts


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        return "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in problems[:5])
    return " ".join(str(error).split())


def _error_table(text: str, mistakes: list[str]) -> ErrorTable:
    try:
        rows = ErrorsFile.model_validate(yaml.safe_load(text)).errors
    except (ValidationError, yaml.YAMLError) as error:
        mistakes.append(f"{ERRORS_FILE}: {_explain(error)}")
        return ErrorTable([])
    return ErrorTable([_error_row(row) for row in rows])


def _error_row(row: ErrorFile) -> ErrorRow:
    return ErrorRow(
        name=row.name,
        statuses=frozenset(row.status),
        reaction=row.reaction,
        code=row.code,
        message=row.message,
        remedy=row.remedy,
        retryable=row.retryable,
        graph_codes=frozenset(row.graph_code),
        detail_code=row.detail.code if row.detail else None,
        detail_target=row.detail.target if row.detail else None,
        texts=tuple(text.lower() for text in row.text),
        may_have_applied=row.may_have_applied,
    )


def _template(file_name: str, text: str, errors: ErrorTable) -> Template:
    file = TemplateFile.model_validate(yaml.safe_load(text))
    if file_name != f"{file.operation}@{file.version}.yaml":
        raise TemplateError(f"the file must be named {file.operation}@{file.version}.yaml")
    if file.first not in file.steps:
        raise TemplateError(f"first: there is no step {file.first}")
    if unknown := set(file.objects) - set(file.params):
        raise TemplateError(f"objects: no such parameter: {', '.join(sorted(unknown))}")
    if any(not row for row in file.permissions):
        raise TemplateError("permissions: an empty row can never be met")
    return Template(
        name=file.operation,
        version=file.version,
        title=file.title,
        repeatability=file.repeatability,
        permissions=tuple(tuple(row) for row in file.permissions),
        parameters=tuple(
            Parameter(name, item.kind, item.required, frozenset(item.forbid), item.items_min, item.items_max)
            for name, item in file.params.items()
        ),
        objects=tuple(file.objects),
        first=file.first,
        steps={name: _step(name, step, file, errors) for name, step in file.steps.items()},
    )


def _step(name: str, file: StepFile, template: TemplateFile, errors: ErrorTable) -> Step:
    requests = {_ANSWER_SLOT: file.request} if file.request is not None else file.requests
    slots = frozenset({_LEDGER_SLOT}) if file.created_by is not None else frozenset(requests)
    plain = {key: function for key, function in GUARDED.items() if key not in _SECRET_FUNCTIONS}
    before, after = Compiler(GUARDED), Compiler(plain, slots)
    rules = tuple(
        _rule(rule, after, template, errors, f"steps.{name}.on.{index}") for index, rule in enumerate(file.on)
    )
    writes = any(request.method != "get" for request in requests.values())
    lost_rule = next((rule for rule in rules if rule.lost), None)
    if writes and template.repeatability is Repeatability.READ_BACK and lost_rule is None:
        raise TemplateError(f"steps.{name}: a write of a read-back operation needs a lost rule")
    return Step(
        name=name,
        calls=tuple(_call(slot, request, before, plain) for slot, request in requests.items()),
        created_by=Compiler(plain).value(file.created_by) if file.created_by is not None else None,
        compute=tuple((key, after.value(value)) for key, value in file.compute.items()),
        rules=rules,
        writes=writes,
        lost_rule=lost_rule,
    )


def _call(slot: str, file: RequestFile, compiler: Compiler, plain: Mapping[str, Any]) -> Call:
    # A secret may stand in a body only: paths and queries are logged and traced.
    address = Compiler(plain)
    return Call(
        slot=slot,
        method=file.method.upper(),
        path=address.path(file.path),
        query=tuple((name, address.query(name, value)) for name, value in file.query.items()),
        body=compiler.value(file.body) if file.body is not None else None,
        missing_ok=file.missing is not None,
        optional=bool(file.optional),
        permissions=tuple(file.optional),
        page_count_max=file.pages,
    )


def _rule(file: RuleFile, compiler: Compiler, template: TemplateFile, errors: ErrorTable, place: str) -> Rule:
    if unknown := set(file.error) - errors.names:
        raise TemplateError(f"{place}: {ERRORS_FILE} has no {', '.join(sorted(unknown))}")
    if file.go is not None and file.go not in template.steps:
        raise TemplateError(f"{place}: there is no step {file.go}")
    end = file.refuse or file.fail
    return Rule(
        errors=frozenset(file.error),
        of=file.of,
        lost=file.lost,
        status=file.status,
        condition=compiler.value(file.condition) if file.condition is not None else None,
        uncertain=file.uncertain,
        go=file.go,
        success=_success(file, compiler),
        refusal=_refusal(end, compiler, failed=file.fail is not None) if end is not None else None,
        again=file.again,
        pause=file.pause,
    )


def _success(rule: RuleFile, compiler: Compiler) -> Success | None:
    file = rule.succeed
    if file is None:
        return None
    return Success(
        changed=compiler.value(file.changed),
        output=compiler.value(file.output),
        creates=compiler.value(file.creates) if file.creates is not None else None,
        undo_operation=file.undo.operation if file.undo else None,
        undo_version=file.undo.version if file.undo else 0,
        undo_params=compiler.value(file.undo.params) if file.undo else None,
    )


def _refusal(file: EndFile, compiler: Compiler, *, failed: bool) -> Refusal:
    return Refusal(file.code, file.message, file.remedy, failed, file.retryable, compiler.value(file.detail))


def _dangling_undos(templates: Mapping[tuple[str, int], Template]) -> list[str]:
    mistakes = []
    for template in templates.values():
        for step in template.steps.values():
            for rule in step.rules:
                end = rule.success
                if end is None or end.undo_operation is None:
                    continue
                if (end.undo_operation, end.undo_version) not in templates:
                    file_name = f"{template.name}@{template.version}.yaml"
                    mistakes.append(f"{file_name}: undo {end.undo_operation}@{end.undo_version} does not exist")
    return mistakes
