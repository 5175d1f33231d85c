"""What manifests say of the brokers agrees with the topics file and the command that applies it."""

from __future__ import annotations

import os
from unittest import mock

from mesh_messaging.topics import load
from mesh_messaging.topics.__main__ import TopicsSettings
from mesh_runtime.settings import SettingsError, load_settings
from support.declared import ROOT
from support.manifest_references import environment_with_files
from support.manifests import TOPICS, Built, Workload

TOPICS_FILE = ROOT / "deploy" / "kafka" / "topics.yaml"
DECLARATION = load(TOPICS_FILE)
PARTITIONS = {topic.name: topic.partitions for topic in DECLARATION.topics}


def check_topics_job(built: Built) -> list[str]:
    """It applies the file, and its settings are those the command reads."""
    [job] = [workload for workload in built.workloads() if workload.name == TOPICS]
    found = []
    command, _file, *options = job.container["args"]
    if command != "apply":
        found.append(f"{TOPICS}: does {command}")
    found += [f"{TOPICS}: {option} is no option" for option in options if not option.startswith("--replication=")]
    known = {f"TOPICS_{name}".upper() for name in TopicsSettings.model_fields} | {"TOPICS_SECRETS_DIR"}
    found += [f"{TOPICS}: nobody reads {e['name']}" for e in job.container["env"] if e["name"] not in known]
    return found + _refused(built, job)


def check_kafka_users(built: Built) -> list[str]:
    """Who a service says it is, is whom the topics file gives its rights to."""
    found = []
    for workload, service in built.services():
        user = workload.value(service.variable("kafka_sasl_username"))
        if user is not None and (user != service.group or f"User:{user}" not in DECLARATION.principals):
            found.append(f"{workload.name}: is {user} to the brokers, has its rights as {service.group}")
    return found


def _refused(built: Built, job: Workload) -> list[str]:
    with environment_with_files(built, job) as environment, mock.patch.dict(os.environ, environment, clear=True):
        try:
            load_settings(TopicsSettings)
        except SettingsError as error:
            return [f"{TOPICS}: {error}"]
    return []
