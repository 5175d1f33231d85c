"""Template files: what is refused, what a folder may add, and the expressions inside."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from graph_adapter.adapters.templates import load_catalogue
from graph_adapter.application.reload_templates import TemplateShelf
from graph_adapter.domain.expressions import Compiler, TemplateError, TemplateFault
from graph_adapter.domain.functions import GUARDED, not_before
from graph_adapter.domain.passwords import PASSWORD_LENGTH, new_password
from graph_adapter.domain.template import invalid_parameter
from mesh_runtime.errors import InvalidInput
from support.graph_script import catalogue

GOOD = """
operation: user.rename
version: 1
title: Rename a user
repeatability: idempotent
permissions: [[User.ReadWrite.All]]
params: {user_id: string, name: string}
first: write
steps:
  write:
    request: {patch: '/users/{params.user_id}', body: {displayName: '${params.name}'}}
    on:
      - succeed: {changed: true, output: {}}
"""


def test_the_fingerprint_changes_with_every_file(tmp_path: Path) -> None:
    errors = resources.files("graph_adapter").joinpath("templates", "errors.yaml").read_text()
    (tmp_path / "errors.yaml").write_text(errors.replace("No seat of this licence is left.", "No seat is left."))
    changed = load_catalogue(tmp_path)
    (tmp_path / "user.rename@1.yaml").write_text(GOOD)
    assert len({catalogue().fingerprint, changed.fingerprint, load_catalogue(tmp_path).fingerprint}) == 3


def test_every_operation_of_the_catalogue_is_there() -> None:
    assert {name for name, version in catalogue().templates if version == 1} == {
        "user.observe", "user.get", "user.ensure", "user.patch", "user.delete", "user.set-manager",
        "user.remove-manager", "group.add-member", "group.remove-member", "licence.assign", "tenant.observe",
        "tenant.probe", "application.add-key", "application.remove-key",
    }  # fmt: skip


def test_a_folder_adds_an_operation_without_a_release(tmp_path: Path) -> None:
    (tmp_path / "user.rename@1.yaml").write_text(GOOD)
    loaded = load_catalogue(tmp_path)
    assert ("user.rename", 1) in loaded.templates
    assert loaded.fingerprint != catalogue().fingerprint


MISTAKES = {
    "unknown key": (GOOD.replace("title:", "titel: x\ntitle:"), "titel"),
    "unknown function": (GOOD.replace("${params.name}", "x").replace("'x'", "{$shell: ls}"), "no function $shell"),
    "reference out of scope": (GOOD.replace("${params.name}", "${secrets.name}"), "not in scope"),
    "an answer before it is there": (GOOD.replace("${params.name}", "${answer.name}"), "not in scope"),
    "unknown step": (GOOD.replace("first: write", "first: nowhere"), "no step nowhere"),
    "unknown error": (GOOD.replace("- succeed", "- error: nonsense\n        succeed"), "has no nonsense"),
    "wrong file name": (GOOD.replace("version: 1", "version: 2"), "user.rename@2.yaml"),
    "a secret outside a body": (
        GOOD.replace("{params.user_id}'", "x', query: {a: {$new-password: {}}}"),
        "no function",
    ),
    "a read-back write without lost rule": (GOOD.replace("idempotent", "read-back"), "needs a lost rule"),
    "undo that does not exist": (
        GOOD.replace("output: {}", "output: {}, undo: {operation: user.vanish, version: 1, params: {}}"),
        "user.vanish@1 does not exist",
    ),
    "two ends": (GOOD.replace("- succeed", "- go: write\n        succeed"), "a rule needs one of"),
    "not YAML": ("a: [", "user.rename@1.yaml"),
    "no path": (GOOD.replace("'/users/{params.user_id}'", "users"), "must start with /"),
}


@pytest.mark.parametrize(("text", "reason"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_refused_with_its_place_and_the_set_in_use_stays(text: str, reason: str, tmp_path: Path) -> None:
    shelf = TemplateShelf(lambda: load_catalogue(tmp_path))
    before = shelf.current
    (tmp_path / "user.rename@1.yaml").write_text(text)
    with pytest.raises(InvalidInput) as refused:
        shelf.reload()
    assert reason in refused.value.message
    assert shelf.current is before


def test_parameters_are_checked_without_showing_values() -> None:
    template = catalogue().templates[("user.ensure", 1)]
    good: dict[str, Any] = {"user_principal_name": "a@b.example", "employee_id": "1", "attributes": {}}
    assert invalid_parameter(template, good) is None
    assert invalid_parameter(template, good | {"employee_id": None}) == "employee_id is missing"
    assert invalid_parameter(template, good | {"employee_id": 7}) == "employee_id must be of type string"
    assert invalid_parameter(template, good | {"employee_id": " "}) == "employee_id is empty"
    secret = {"passwordProfile": {"password": "hunter2"}}
    assert invalid_parameter(template, good | {"attributes": secret}) == "attributes must not hold passwordProfile"
    observe = catalogue().templates[("user.observe", 1)]
    many = {"employee_id": "1", "upn_candidates": ["x"] * 11}
    assert invalid_parameter(observe, many) == "upn_candidates must have 1 to 10 items"


# expressions ----------------------------------------------------------------------------------------------------------
SCOPE = {"params": {"a": 1, "s": "x", "list": [{"id": "i", "n": 1}, {"id": "j", "n": 2}], "o": {"p": None}}, "vars": {}}

VALUES: dict[str, tuple[Any, Any]] = {
    "a whole reference keeps its type": ("${params.a}", 1),
    "inside text it becomes text": ("<${params.a}|${params.s}>", "<1|x>"),
    "nothing on the way is null": ("${params.nowhere.at.all}", None),
    "lists by position": ("${params.list.1.id}", "j"),
    "beyond the end is null": ("${params.list.9.id}", None),
    "nested": ({"k": ["${params.s}", 2]}, {"k": ["x", 2]}),
    "constants stay": ({"@odata.id": "y"}, {"@odata.id": "y"}),
    "merge": ({"$merge": [{"a": 1, "b": 1}, None, {"b": 2}]}, {"a": 1, "b": 2}),
    "union": ({"$union": [["a", "b"], ["b", "c"]]}, ["a", "b", "c"]),
    "find": ({"$find": {"in": "${params.list}", "where": {"n": 2}}}, {"id": "j", "n": 2}),
    "find nothing": ({"$find": {"in": None, "where": {"n": 2}}}, None),
    "pluck": ({"$pluck": {"in": "${params.list}", "key": "id"}}, ["i", "j"]),
    "select unless": ({"$select": {"in": "${params.list}", "unless": {"n": [1, 3]}}}, [{"id": "j", "n": 2}]),
    "each": ({"$each": {"in": "${params.list}", "make": {"x": "${item.id}"}}}, [{"x": "i"}, {"x": "j"}]),
    "each of nothing": ({"$each": {"in": None, "make": "${item}"}}, []),
    "changes treat missing as null": ({"$changes": {"wanted": {"a": None, "b": 1}, "current": {}}}, {"b": 1}),
    "empty": ({"$empty": "${params.o.p}"}, True),
    "false is not empty": ({"$empty": False}, False),
    "first": ({"$first": [None, "x", "y"]}, "x"),
    "all, any, not": ({"$all": [{"$not": False}, {"$any": [False, True]}]}, True),
    "same text": ({"$same-text": ["ABC", "abc"]}, True),
    "equal is exact": ({"$equal": ["ABC", "abc"]}, False),
}


@pytest.mark.parametrize(("source", "expected"), VALUES.values(), ids=VALUES.keys())
def test_expressions(source: Any, expected: Any) -> None:
    assert Compiler(GUARDED).value(source)(SCOPE) == expected


def test_a_function_with_a_wrong_argument_is_a_fault_without_values() -> None:
    with pytest.raises(TemplateFault) as fault:
        Compiler(GUARDED).value({"$merge": "${params.a}"})(SCOPE)
    assert str(fault.value) == "$merge: TypeError"


@pytest.mark.parametrize(
    "source", [{"$merge": [], "other": 1}, {"$no": 1}, "${}", "${params.__class__.x y}", "${item}"]
)
def test_what_does_not_compile(source: Any) -> None:
    if source == "${item}":
        assert Compiler(GUARDED).value(source)(SCOPE) is None
        return
    with pytest.raises(TemplateError):
        Compiler(GUARDED).value(source)


def test_filters_quote_and_encode() -> None:
    query = Compiler(GUARDED).query("$filter", "displayName eq {params.s} and id in ({params.list})")
    found = query({"params": {"s": "O'Brien & Söhne #1", "list": ["a", "b"]}})
    assert found == "displayName%20eq%20'O''Brien%20%26%20S%C3%B6hne%20%231'%20and%20id%20in%20('a','b')"
    with pytest.raises(TemplateFault):
        query({"params": {"s": "x", "list": []}})


@pytest.mark.parametrize(
    ("time", "than", "answer"),
    [
        ("2026-11-30T08:00:00Z", "2026-11-30T08:01:00+00:00", True),
        ("2026-11-30T07:50:00Z", "2026-11-30T08:01:00+00:00", False),
        (None, "2026-11-30T08:01:00+00:00", False),
        ("nonsense", "2026-11-30T08:01:00+00:00", False),
    ],
)
def test_not_before(time: str | None, than: str, answer: bool) -> None:
    assert not_before({"time": time, "than": than, "tolerance_seconds": 120}) is answer


def test_passwords_differ_and_hold_every_kind() -> None:
    made = {new_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert len(password) == PASSWORD_LENGTH
        assert any(c.islower() for c in password)
        assert any(c.isupper() for c in password)
        assert any(c.isdigit() for c in password)
        assert any(not c.isalnum() for c in password)
