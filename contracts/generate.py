"""Makes asyncapi.yaml and the catalogue in README.md from messages.yaml and schemas/.

python contracts/generate.py            write both
python contracts/generate.py --release  and record today's promises in released.lock (refused if one is broken)
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml
from compatibility import breaking_changes, dump, flatten, parse

HERE = Path(__file__).parent
BEGIN, END = "<!-- catalogue: made by generate.py -->", "<!-- /catalogue -->"


def load_topics() -> list[dict[str, Any]]:
    """The topics of messages.yaml, in its order."""
    return list(yaml.safe_load((HERE / "messages.yaml").read_text("utf-8"))["topics"])


def load_schemas() -> dict[str, dict[str, Any]]:
    """Message type -> JSON Schema (draft 2020-12) of its data."""
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((HERE / "schemas").glob("*.json"))}


def promises(topics: list[dict[str, Any]], schemas: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """What consumers may rely on: the data's properties, and the topic and key of each message."""
    lines = {message: flatten(schema) for message, schema in schemas.items()}
    for topic in topics:
        for message in topic["messages"]:
            lines[message["type"]][f"topic {topic['topic']}"] = f"key {topic['key']} optional"
    return lines


def asyncapi(topics: list[dict[str, Any]], schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The AsyncAPI 3.0 document: one channel a topic, one message a type, a send operation a message and channel."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for topic in topics:
        name = topic["topic"]
        types = [message["type"] for message in topic["messages"]]
        channels[name] = {
            "address": name,
            "description": f"Key: {topic['key']}. Read by: {', '.join(topic['consumers'])}.",
            "messages": {kind: {"$ref": f"#/components/messages/{kind}"} for kind in types},
            "bindings": {"kafka": {"topic": name, "partitions": 12, "bindingVersion": "0.5.0"}},
        }
        operations[f"send-{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": f"Publish to {name}",
            "messages": [{"$ref": f"#/channels/{name}/messages/{kind}"} for kind in types],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ucmesh messages",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in Kafka binary mode: attributes are ce_ headers, the value is JSON.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {kind: _message(kind, schema) for kind, schema in schemas.items()},
            "messageTraits": {"cloudevent": {"headers": _cloudevent_headers()}},
        },
    }


def _message(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    payload = {key: value for key, value in schema.items() if key not in ("$schema", "$id")}
    example = json.loads((HERE / "examples" / kind / "full.json").read_text("utf-8"))
    return {
        "name": kind,
        "title": kind,
        "summary": schema["description"],
        "contentType": "application/json",
        "traits": [{"$ref": "#/components/messageTraits/cloudevent"}],
        "payload": payload,
        "examples": [{"name": "full", "payload": example}],
    }


def _cloudevent_headers() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "ce_tenant", "traceparent")
    return {
        "type": "object",
        "description": "CloudEvents attributes (Kafka protocol binding 1.0) and W3C trace context.",
        "properties": dict.fromkeys((*names, "content-type"), text),
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
    }


def catalogue(topics: list[dict[str, Any]], schemas: dict[str, dict[str, Any]]) -> str:
    """The table of README.md, one row a message and topic."""
    rows = ["| type | meaning | owner | topic | key | consumers | personal data |", "|---|---|---|---|---|---|---|"]
    for topic in topics:
        for message in topic["messages"]:
            personal = "yes" if topic["personal_data"] else "no"
            meaning = schemas[message["type"]]["description"]
            key = topic["key"].replace("<", "&lt;").replace(">", "&gt;")
            rows.append(
                f"| [`{message['type']}`](schemas/{message['type']}.json) | {meaning} | {message['owner']} "
                f"| `{topic['topic']}` | {key} | {', '.join(topic['consumers'])} | {personal} |"
            )
    return "\n".join(rows)


def render() -> dict[Path, str]:
    """Every generated file and the text it must have."""
    topics, schemas = load_topics(), load_schemas()
    readme = (HERE / "README.md").read_text("utf-8")
    head, _, rest = readme.partition(BEGIN)
    tail = rest.partition(END)[2]
    document = yaml.safe_dump(asyncapi(topics, schemas), sort_keys=False, allow_unicode=True, width=120)
    return {
        HERE / "asyncapi.yaml": "# Made by generate.py from messages.yaml and schemas/; edit those.\n" + document,
        HERE / "README.md": f"{head}{BEGIN}\n{catalogue(topics, schemas)}\n{END}{tail}",
    }


def main() -> int:
    for path, text in render().items():
        path.write_text(text, "utf-8")
    if "--release" in sys.argv[1:]:
        lock = HERE / "released.lock"
        today = promises(load_topics(), load_schemas())
        broken = breaking_changes(parse(lock.read_text("utf-8")) if lock.exists() else {}, today)
        if broken:
            sys.stderr.write("\n".join(broken) + "\n")
            return 1
        lock.write_text(dump(today), "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
