"""Every message has a valid schema and three examples that keep it, and what was released still holds."""

import json
import shutil
import subprocess
from pathlib import Path

import generate
import jsonschema_rs
import pytest

CONTRACTS = Path(__file__).parents[2] / "contracts"

SCHEMAS = generate.load_schemas()
TOPICS = generate.load_topics()
EXAMPLES = sorted((CONTRACTS / "examples").glob("*/*.json"))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_schema_is_valid_json_schema_and_describes_itself(kind: str) -> None:
    jsonschema_rs.meta.validate(SCHEMAS[kind])
    assert SCHEMAS[kind]["title"] == kind
    assert SCHEMAS[kind]["description"]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_message_has_a_minimal_a_full_and_an_unknown_field_example(kind: str) -> None:
    names = {path.stem for path in (CONTRACTS / "examples" / kind).glob("*.json")}
    assert names >= {"minimal", "full", "unknown-field"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_example_keeps_its_schema(path: Path) -> None:
    validator = jsonschema_rs.validator_for(SCHEMAS[path.parent.name], validate_formats=True)
    validator.validate(json.loads(path.read_text("utf-8")))


def test_the_corrected_records_of_the_example_feeds_keep_the_schema() -> None:
    corrected = sorted((CONTRACTS.parent / "examples" / "hr" / "corrected").glob("*.json"))
    assert corrected
    validator = jsonschema_rs.validator_for(SCHEMAS["ucmesh.hr.person.v1.joined"], validate_formats=True)
    for path in corrected:
        validator.validate(json.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("kind", SCHEMAS)
def test_minimal_example_holds_only_what_is_required(kind: str) -> None:
    minimal = json.loads((CONTRACTS / "examples" / kind / "minimal.json").read_text("utf-8"))
    assert set(minimal) == set(SCHEMAS[kind]["required"])


def test_every_schema_travels_on_a_topic_and_every_topic_names_a_known_message() -> None:
    on_topics = {message["type"] for topic in TOPICS for message in topic["messages"]}
    assert on_topics == set(SCHEMAS)


def test_generated_files_are_up_to_date() -> None:
    stale = [path.name for path, text in generate.render().items() if path.read_text("utf-8") != text]
    assert not stale, f"run: python contracts/generate.py (stale: {stale})"


def test_asyncapi_document_is_accepted_by_the_initiatives_parser() -> None:
    folder = CONTRACTS / "asyncapi-check"
    if shutil.which("node") is None or not (folder / "node_modules").exists():
        pytest.skip("needs Node.js and `npm ci --prefix contracts/asyncapi-check`")
    command = ["node", str(folder / "check.mjs"), str(CONTRACTS / "asyncapi.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
