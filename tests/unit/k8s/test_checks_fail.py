"""Each check fails on a manifest that is broken in its way: a check that cannot fail protects nothing."""

import copy
from collections.abc import Callable

import pytest

from support.manifest_breaking import (
    WORKER,
    add_literal,
    container,
    egress_names,
    entry,
    get,
    mesh,
    pod,
    policy,
    remove,
    rules,
    trigger,
)
from support.manifest_checks import CHECKS, overlay
from support.manifests import Built

Break = Callable[[Built], object]


BROKEN: list[tuple[str, str, Break]] = [
    ("check_schema", "replica", lambda b: get(b, "Deployment", WORKER)["spec"].update(replica=1)),
    ("check_schema", "maxReplicaCounts", lambda b: get(b, "ScaledObject", WORKER)["spec"].update(maxReplicaCounts=1)),
    ("check_schema", "no schema", lambda b: get(b, "Deployment", WORKER).update(apiVersion="apps/v0")),
    ("check_schema", "string", lambda b: get(b, "PrometheusRule", "ucmesh")["spec"]["groups"][0].update(name=1)),
    ("check_restricted", "runAsNonRoot", lambda b: pod(b)["securityContext"].update(runAsUser=0)),
    ("check_restricted", "seccompProfile", lambda b: pod(b)["securityContext"].pop("seccompProfile")),
    ("check_restricted", "allowPrivilege", lambda b: container(b)["securityContext"].pop("allowPrivilegeEscalation")),
    (
        "check_restricted",
        "readOnlyRoot",
        lambda b: container(b)["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    (
        "check_restricted",
        "capabilities",
        lambda b: container(b)["securityContext"]["capabilities"].update(add=["NET_RAW"]),
    ),
    ("check_restricted", "topics: seccomp", lambda b: pod(b, "topics", "Job")["securityContext"].pop("seccompProfile")),
    ("check_restricted", "hostPath", lambda b: pod(b)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    ("check_restricted", "host namespaces", lambda b: pod(b).update(hostNetwork=True)),
    ("check_no_token", "enableServiceLinks", lambda b: pod(b).pop("enableServiceLinks")),
    ("check_no_token", "automount", lambda b: pod(b).update(automountServiceAccountToken=True)),
    ("check_no_token", "get a token", lambda b: get(b, "ServiceAccount", "topics").pop("automountServiceAccountToken")),
    ("check_resources", "memory", lambda b: container(b)["resources"]["limits"].pop("memory")),
    ("check_resources", "cpu", lambda b: container(b)["resources"]["requests"].update(cpu="9")),
    ("check_volumes", "sizeLimit", lambda b: pod(b)["volumes"].append({"name": "x", "emptyDir": {}})),
    ("check_volumes", "mounted or declared", lambda b: container(b)["volumeMounts"].pop()),
    ("check_probes", "livenessProbe", lambda b: container(b).pop("livenessProbe")),
    ("check_probes", "its start may", lambda b: container(b)["startupProbe"].update(failureThreshold=3)),
    ("check_images", "anything", lambda b: container(b).update(image="registry:5000/ucmesh/graph-adapter")),
    ("check_images", "anything", lambda b: container(b).update(image="ucmesh/graph-adapter:latest")),
    ("check_no_secrets", "written here", lambda b: b.manifests.append({"kind": "Secret", "metadata": {"name": "s"}})),
    ("check_no_secrets", "_PASSWORD", lambda b: add_literal(b, "GRAPH_ADAPTER_KAFKA_SASL_PASSWORD", "x")),
    ("check_no_secrets", "X has its", lambda b: add_literal(b, "X", "postgresql://me:word@db/name")),
    ("check_no_secrets", "holds a secret", lambda b: mesh(b).update(CLIENT_SECRET="x")),
    (
        "check_rollout",
        WORKER,
        lambda b: get(b, "Deployment", WORKER)["spec"]["strategy"]["rollingUpdate"].pop("maxUnavailable"),
    ),
    ("check_shutdown", "killed after", lambda b: entry(b, "GRAPH_ADAPTER_DRAIN_SECONDS").update(value="60")),
    ("check_shutdown", "refused", lambda b: entry(b, "GRAPH_ADAPTER_HTTP_LINGER_SECONDS").update(value="1")),
    ("check_jobs", "activeDeadlineSeconds", lambda b: get(b, "Job", "topics")["spec"].pop("activeDeadlineSeconds")),
    ("check_release_order", "wrong step", lambda b: get(b, "Deployment", WORKER)["metadata"].pop("annotations")),
    (
        "check_release_order",
        "wrong step",
        lambda b: get(b, "Job", "topics")["metadata"]["labels"].update({"ucmesh.io/wave": "1"}),
    ),
    ("check_spread", "not spread over", lambda b: pod(b)["topologySpreadConstraints"].pop()),
    ("check_spread", "not itself", lambda b: pod(b)["topologySpreadConstraints"][0]["matchLabelKeys"].pop()),
    (
        "check_sessions_fit",
        "its sessions may",
        lambda b: container(b, "pwsh-gateway-worker")["resources"]["limits"].update(memory="8Gi"),
    ),
    ("check_namespace", "not in ucmesh", lambda b: get(b, "Deployment", WORKER)["metadata"].update(namespace="x")),
    ("check_namespace", "restricted", lambda b: get(b, "Namespace", "ucmesh")["metadata"]["labels"].clear()),
    (
        "check_availability",
        "fewer than two",
        lambda b: get(b, "ScaledObject", WORKER)["spec"].update(minReplicaCount=1),
    ),
    ("check_availability", "disruption budgets", lambda b: remove(b, "PodDisruptionBudget", WORKER)),
    (
        "check_availability",
        "one zone",
        lambda b: pod(b)["topologySpreadConstraints"][0].update(whenUnsatisfiable="ScheduleAnyway"),
    ),
    ("check_availability", "does not belong", lambda b: remove(b, "Deployment", WORKER)),
    ("check_command", "no role", lambda b: container(b)["args"].append("workers")),
    ("check_command", "no role", lambda b: container(b, "orchestrator-migrate", "Job").update(args=["upgrade"])),
    ("check_roles_run", "nobody runs worker", lambda b: container(b)["args"].remove("worker")),
    ("check_roles_run", "no doors", lambda b: container(b)["args"].remove("api")),
    ("check_variables", "nobody reads", lambda b: add_literal(b, "GRAPH_ADAPTER_LEASE_SECOND", "9")),
    ("check_settings_load", "LEASE_SECONDS", lambda b: add_literal(b, "GRAPH_ADAPTER_LEASE_SECONDS", "soon")),
    ("check_settings_load", "OIDC_ISSUER", lambda b: mesh(b).update(OIDC_ISSUER="http://issuer.example.org")),
    ("check_settings_load", "KEK_FILE", lambda b: entry(b, "GRAPH_ADAPTER_KEK_FILE").update(value="/run/kek.json")),
    ("check_settings_load", "itself only", lambda b: entry(b, "GRAPH_ADAPTER_HTTP_HOST").update(value="127.0.0.1")),
    ("check_settings_load", "listens on 8081", lambda b: entry(b, "GRAPH_ADAPTER_HTTP_PORT").update(value="8081")),
    (
        "check_jobs_have_the_environment_of_their_service",
        "graph-adapter-migrate",
        lambda b: container(b, "graph-adapter-migrate", "Job")["env"].pop(),
    ),
    ("check_references", "there is no KAFKA_BOOTSTRAP", lambda b: mesh(b).pop("KAFKA_BOOTSTRAP")),
    ("check_references", "ServiceAccount", lambda b: remove(b, "ServiceAccount", "graph-adapter")),
    ("check_references", "nobody provides", lambda b: get(b, "ExternalSecret", "graph-adapter")["spec"]["data"].pop()),
    (
        "check_references",
        "nobody reads",
        lambda b: (
            entry(b, "GRAPH_ADAPTER_KEK_FILE", "graph-adapter-worker").update(value="/x")
            or entry(b, "GRAPH_ADAPTER_KEK_FILE", "graph-adapter-consumer").update(value="/x")
            or container(b, "graph-adapter-migrate", "Job").update(env=[])
        ),
    ),
    (
        "check_selectors",
        "selects",
        lambda b: get(b, "Deployment", WORKER)["spec"]["selector"]["matchLabels"].pop("app.kubernetes.io/component"),
    ),
    ("check_selectors", "reaches []", lambda b: get(b, "Service", "orchestrator")["spec"]["selector"].update(x="y")),
    (
        "check_selectors",
        "no port web",
        lambda b: get(b, "Service", "orchestrator")["spec"]["ports"][0].update(targetPort="web"),
    ),
    ("check_probe_doors", "asks /health", lambda b: container(b)["readinessProbe"]["httpGet"].update(path="/healthz")),
    (
        "check_probe_doors",
        "asks /health/live",
        lambda b: container(b)["readinessProbe"]["httpGet"].update(path="/health/live"),
    ),
    ("check_probe_doors", "asks port 80", lambda b: container(b)["livenessProbe"]["httpGet"].update(port=80)),
    ("check_probe_doors", "by HTTPS", lambda b: container(b)["livenessProbe"]["httpGet"].update(scheme="HTTPS")),
    (
        "check_monitoring",
        "by https",
        lambda b: get(b, "PodMonitor", "ucmesh")["spec"]["podMetricsEndpoints"][0].update(scheme="https"),
    ),
    ("check_autoscaling", "no such Deployment", lambda b: remove(b, "Deployment", WORKER)),
    ("check_autoscaling", "would undo", lambda b: get(b, "Deployment", WORKER)["spec"].update(replicas=2)),
    (
        "check_autoscaling",
        "the group of ucmesh.hr.lifecycle.v1 is orchestrator, not x",
        lambda b: trigger(b, "orchestrator-consumer")["metadata"].update(consumerGroup="x"),
    ),
    (
        "check_autoscaling",
        "the group of ucmesh.orchestrator-bulk.replies.v1 is orchestrator-bulk, not orchestrator",
        lambda b: trigger(b, "orchestrator-consumer", 2)["metadata"].update(consumerGroup="orchestrator"),
    ),
    (
        "check_autoscaling",
        "the service reads",
        lambda b: trigger(b, "orchestrator-consumer")["metadata"].update(topic="ucmesh.plans.v1"),
    ),
    (
        "check_autoscaling",
        "is no variable",
        lambda b: trigger(b, "orchestrator-consumer")["metadata"].update(bootstrapServersFromEnv="X"),
    ),
    ("check_autoscaling", "TriggerAuthentication", lambda b: remove(b, "TriggerAuthentication", "kafka-lag")),
    (
        "check_autoscaling",
        "than partitions",
        lambda b: get(b, "ScaledObject", "orchestrator-consumer")["spec"].update(maxReplicaCount=13),
    ),
    (
        "check_autoscaling",
        "has the metric",
        lambda b: trigger(b, "pwsh-gateway-worker")["metadata"].update(query="max(ucmesh_pwsh_age)"),
    ),
    (
        "check_monitoring",
        "nobody reads",
        lambda b: get(b, "PodMonitor", "ucmesh")["spec"]["selector"]["matchLabels"].update(x="y"),
    ),
    (
        "check_monitoring",
        "no metrics at",
        lambda b: get(b, "PodMonitor", "ucmesh")["spec"]["podMetricsEndpoints"][0].update(path="/m"),
    ),
    (
        "check_monitoring",
        "no port web",
        lambda b: get(b, "PodMonitor", "ucmesh")["spec"]["podMetricsEndpoints"][0].update(port="web"),
    ),
    ("check_monitoring", "has the metric", lambda b: rules(b)[0].update(expr="max(ucmesh_outbox_old_seconds) > 1")),
    (
        "check_monitoring",
        "has no label",
        lambda b: rules(b)[0].update(expr='ucmesh_plans_ended_total{ending="held"} > 1'),
    ),
    ("check_monitoring", "has the label", lambda b: rules(b)[0].update(expr="sum by (tenant) (ucmesh_outbox_depth)")),
    (
        "check_keda_triggers",
        "does not know",
        lambda b: trigger(b, "orchestrator-consumer")["metadata"].update(lagTreshold="1"),
    ),
    ("check_keda_triggers", "lacks query", lambda b: trigger(b, "pwsh-gateway-worker")["metadata"].pop("query")),
    (
        "check_keda_triggers",
        "one of",
        lambda b: trigger(b, "orchestrator-consumer")["metadata"].update(offsetResetPolicy="first"),
    ),
    ("check_topics_job", "does", lambda b: container(b, "topics", "Job")["args"].__setitem__(0, "set-passwords")),
    (
        "check_topics_job",
        "nobody reads",
        lambda b: container(b, "topics", "Job")["env"].append({"name": "TOPICS_KAFKA"}),
    ),
    (
        "check_topics_job",
        "KAFKA_SASL_PASSWORD",
        lambda b: container(b, "topics", "Job")["env"].remove(
            next(e for e in container(b, "topics", "Job")["env"] if e["name"] == "TOPICS_SECRETS_DIR")
        ),
    ),
    ("check_topics_job", "no option", lambda b: container(b, "topics", "Job")["args"].append("--prune")),
    (
        "check_kafka_users",
        "has its rights",
        lambda b: entry(b, "GRAPH_ADAPTER_KAFKA_SASL_USERNAME").update(value="graph"),
    ),
    (
        "check_topics_file_is_in_the_image",
        "/etc/ucmesh",
        lambda b: container(b, "topics", "Job")["args"].__setitem__(1, "/etc/topics.yaml"),
    ),
    ("check_images_are_built", "nobody builds", lambda b: container(b).update(image="ucmesh/graph:0.1.0")),
    ("check_images_are_built", "its image is made", lambda b: pod(b)["securityContext"].update(runAsUser=1000)),
    ("check_images_are_built", "starts", lambda b: container(b).update(command=["python", "-m", "graph_adapters"])),
    ("check_default_deny", "nothing is denied", lambda b: remove(b, "NetworkPolicy", "default-deny")),
    ("check_egress", "to-kafka is not open", lambda b: remove(b, "NetworkPolicy", "to-kafka")),
    ("check_egress", "open for nothing", lambda b: policy(b, "to-microsoft").update(podSelector={})),
    ("check_ingress", "wanted ['ingress', 'monitoring']", lambda b: remove(b, "NetworkPolicy", "from-gateway")),
    ("check_ingress", "no port", lambda b: policy(b, "from-prometheus")["ingress"][0]["ports"][0].update(port="web")),
    (
        "check_policies_select",
        "selects nobody",
        lambda b: policy(b, "to-kafka")["podSelector"]["matchLabels"].update(x="y"),
    ),
    ("check_policies_select", "opens more", lambda b: policy(b, "to-kafka")["egress"][0].pop("ports")),
    ("check_addresses", "KAFKA_BOOTSTRAP", lambda b: mesh(b).update(KAFKA_BOOTSTRAP="kafka:9999")),
    ("check_government_egress", "graph.microsoft.us", lambda b: egress_names(b).pop(1)),
    (
        "check_government_egress",
        "another cloud",
        lambda b: egress_names(b).append({"matchName": "graph.microsoft.com"}),
    ),
    (
        "check_government_egress",
        "leads anywhere",
        lambda b: policy(b, "to-kafka")["egress"][0].update(to=[{"ipBlock": {"cidr": "0.0.0.0/0"}}]),
    ),
]


@pytest.mark.parametrize(("check", "finding", "breaks"), BROKEN, ids=[f"{c}-{f}" for c, f, _ in BROKEN])
def test_a_broken_manifest_is_found(check: str, finding: str, breaks: Break) -> None:
    name = "gov-cloud" if check == "check_government_egress" else "production"
    broken = copy.deepcopy(overlay(name))
    breaks(broken)
    found = CHECKS[check](broken)
    assert any(finding in text for text in found), found


def test_every_check_is_seen_to_fail() -> None:
    assert {check for check, _, _ in BROKEN} == set(CHECKS)
