"""released.lock holds every promise made to consumers; each kind of break is caught."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compatibility
import generate
import pytest

CONTRACTS = Path(__file__).parents[2] / "contracts"

KIND = "ucmesh.graph.operation.v1.execute"
Schemas = dict[str, dict[str, Any]]


def today() -> dict[str, dict[str, str]]:
    return generate.promises(generate.load_topics(), generate.load_schemas())


def released() -> dict[str, dict[str, str]]:
    return compatibility.parse((CONTRACTS / "released.lock").read_text("utf-8"))


def test_nothing_released_is_broken() -> None:
    assert compatibility.breaking_changes(released(), today()) == []


def test_everything_added_is_recorded() -> None:
    assert compatibility.unreleased(released(), today()) == [], "run: python contracts/generate.py --release"


def test_lock_survives_being_written_and_read() -> None:
    assert compatibility.parse(compatibility.dump(today())) == today()


def _remove_property(schemas: Schemas) -> None:
    del schemas[KIND]["properties"]["deadline"]


def _rename_property(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["due"] = schemas[KIND]["properties"].pop("deadline")


def _change_type(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["version"] = {"type": "string"}


def _make_required(schemas: Schemas) -> None:
    schemas[KIND]["required"].append("lane")


def _make_optional(schemas: Schemas) -> None:
    schemas[KIND]["required"].remove("deadline")


def _add_required(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["new"] = {"type": "string"}
    schemas[KIND]["required"].append("new")


def _add_enum_value(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["lane"]["enum"].append("whenever")


def _remove_enum_value(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["lane"]["enum"].remove("bulk")


def _tighten(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["target"]["maxLength"] = 3


def _drop_null(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["plan_id"] = {"type": "string", "format": "uuid"}


def _loosen(schemas: Schemas) -> None:
    del schemas[KIND]["properties"]["target"]["minLength"]


def _raise_minimum_length(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["target"]["minLength"] = 9


def _change_format(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["deadline"]["format"] = "date"


def _allow_null(schemas: Schemas) -> None:
    target = schemas[KIND]["properties"]["target"]
    schemas[KIND]["properties"]["target"] = {"anyOf": [target, {"type": "null"}]}


def _close(schemas: Schemas) -> None:
    schemas[KIND]["additionalProperties"] = False


def _restrict_other_properties(schemas: Schemas) -> None:
    schemas[KIND]["additionalProperties"] = {"type": "string"}


def _pin(schemas: Schemas) -> None:
    schemas[KIND]["properties"]["operation"]["const"] = "user.ensure"


def _replace_by_a_new_version(schemas: Schemas) -> None:
    schemas[KIND.replace(".v1.", ".v2.")] = schemas.pop(KIND)


def _remove_message(schemas: Schemas) -> None:
    del schemas["ucmesh.plans.plan.v1.held"]


BREAKS: list[Callable[[Schemas], None]] = [
    _remove_property,
    _rename_property,
    _change_type,
    _make_required,
    _make_optional,
    _add_required,
    _add_enum_value,
    _remove_enum_value,
    _tighten,
    _drop_null,
    _allow_null,
    _loosen,
    _raise_minimum_length,
    _change_format,
    _close,
    _restrict_other_properties,
    _pin,
    _replace_by_a_new_version,
    _remove_message,
]


@pytest.mark.parametrize("break_it", BREAKS, ids=lambda function: function.__name__.strip("_"))
def test_breaking_change_is_caught(break_it: Callable[[Schemas], None]) -> None:
    schemas = copy.deepcopy(generate.load_schemas())
    break_it(schemas)
    lines = {kind: compatibility.flatten(schema) for kind, schema in schemas.items()}
    before = {kind: compatibility.flatten(schema) for kind, schema in generate.load_schemas().items()}
    assert compatibility.breaking_changes(before, lines)


def test_changing_what_other_properties_may_hold_is_caught() -> None:
    before = {KIND: compatibility.flatten({"type": "object", "additionalProperties": {"enum": ["a"]}})}
    after = {KIND: compatibility.flatten({"type": "object", "additionalProperties": {"enum": ["a", "b"]}})}
    assert compatibility.breaking_changes(before, after)


def test_a_keyword_whose_changes_would_not_be_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="dependentRequired"):
        compatibility.flatten({"type": "object", "dependentRequired": {"a": ["b"]}})


def test_removing_a_topic_is_caught() -> None:
    topics = generate.load_topics()[1:]
    assert compatibility.breaking_changes(released(), generate.promises(topics, generate.load_schemas()))


@pytest.mark.parametrize("field", ["topic", "key"])
def test_moving_a_message_to_another_topic_or_key_is_caught(field: str) -> None:
    topics = copy.deepcopy(generate.load_topics())
    topics[0][field] = "elsewhere"
    assert compatibility.breaking_changes(released(), generate.promises(topics, generate.load_schemas()))


def test_optional_addition_is_allowed_but_must_be_recorded() -> None:
    schemas = copy.deepcopy(generate.load_schemas())
    schemas[KIND]["properties"]["note"] = {"type": "string"}
    lines = generate.promises(generate.load_topics(), schemas)
    assert compatibility.breaking_changes(released(), lines) == []
    assert compatibility.unreleased(released(), lines) == [f"{KIND}: data.note"]


def test_required_property_of_a_new_optional_object_is_allowed() -> None:
    schemas = copy.deepcopy(generate.load_schemas())
    schemas[KIND]["properties"]["window"] = {
        "type": "object",
        "properties": {"from": {"type": "string"}},
        "required": ["from"],
    }
    assert compatibility.breaking_changes(released(), generate.promises(generate.load_topics(), schemas)) == []
