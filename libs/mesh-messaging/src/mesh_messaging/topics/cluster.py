"""The brokers as seen by an administrator: what is there, and changing it.

Owns the requests. aiokafka's admin client has no methods for rights; its request classes are used for everything, so
that one connection does. Facts: Apache Kafka 4.4, aiokafka 0.14.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import (
    AlterConfigsRequest,
    CreateAclsRequest_v1,
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteAclsRequest,
    DeleteTopicsRequest,
    DescribeAclsRequest,
    DescribeConfigsRequest,
)
from aiokafka.protocol.api import Request
from aiokafka.protocol.metadata import MetadataRequest

from mesh_messaging.kafka import REQUEST_TIMEOUT_MS, KafkaSettings, make_client
from mesh_messaging.topics.comparison import (
    AddPartitions,
    Change,
    CreateTopic,
    DeleteTopic,
    Grant,
    Revoke,
    SetConfig,
    State,
)
from mesh_messaging.topics.declaration import Right, Topic
from mesh_messaging.topics.scram import SetPassword
from mesh_runtime.errors import Forbidden, Unavailable

ANY = 1
TOPIC_RESOURCE = 2
SET_ON_THE_TOPIC = 1
"""Source of a setting, as the protocol numbers it: set on this topic, not inherited."""
SECURITY_DISABLED = 54
NOT_ALLOWED = (29, 30, 31)
"""Error codes: this topic, this group, the cluster is not for our user."""
KINDS = {2: "Topic", 3: "Group", 4: "Cluster", 5: "TransactionalId", 6: "DelegationToken", 7: "User"}
PATTERNS = {3: "Literal", 4: "Prefixed"}
PERMISSIONS = {2: "Deny", 3: "Allow"}
OPERATIONS = {
    2: "All",
    3: "Read",
    4: "Write",
    5: "Create",
    6: "Delete",
    7: "Alter",
    8: "Describe",
    9: "ClusterAction",
    10: "DescribeConfigs",
    11: "AlterConfigs",
    12: "IdempotentWrite",
    13: "CreateTokens",
    14: "DescribeTokens",
}


class _Grants(Request[CreateAclsRequest_v1]):  # type: ignore[misc]  # aiokafka has no types
    """Many rights in one request; aiokafka's own makes one of each."""

    API_KEY = CreateAclsRequest_v1.API_KEY

    def __init__(self, bindings: Sequence[tuple[Any, ...]]) -> None:
        self._bindings = bindings

    def build(self, request_struct_class: type[CreateAclsRequest_v1]) -> CreateAclsRequest_v1:
        return request_struct_class(self._bindings)


class Cluster:
    """An open connection to the brokers. Use it as an asynchronous context manager.

    Raises Unavailable when they do not answer, Forbidden when our user may not do what was asked.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Self:
        self._client = make_client(self._settings)
        try:
            await self._client.bootstrap()
        except KafkaError as error:
            await self._client.close()
            raise Unavailable(
                f"Apache Kafka at {self._settings.bootstrap} does not let us in: {error}",
                remedy="Check address, certificate authority, user and password; the line before says which it was.",
            ) from error
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._client.close()

    async def read(self) -> State:
        """Every topic but Kafka's own, and every right."""
        found = await self._ask(MetadataRequest(None, allow_auto_topic_creation=False))
        counts = {
            name: (len(partitions), len(partitions[0][4]) if partitions else 0)
            for _, name, internal, partitions in found.topics
            if not internal
        }
        configs = await self._configs(list(counts))
        topics = {name: Topic(name, *shape, configs.get(name, {})) for name, shape in counts.items()}
        return State(topics, await self._rights())

    async def carry_out(self, changes: Sequence[Change]) -> None:
        """Make these changes: new topics and rights in one request each, then the others in their order."""
        await self.create_topics([change.topic for change in changes if isinstance(change, CreateTopic)])
        await self._grant([change.right for change in changes if isinstance(change, Grant)])
        for change in changes:
            match change:
                case CreateTopic() | Grant():
                    pass
                case AddPartitions(topic=name, wanted=count):
                    answer = await self._ask(
                        CreatePartitionsRequest([(name, (count, None))], REQUEST_TIMEOUT_MS, False)
                    )
                    self._check(f"partitions of {name}", [entry[1:] for entry in answer.topic_errors])
                case SetConfig(topic=name, config=config):
                    answer = await self._ask(AlterConfigsRequest([(TOPIC_RESOURCE, name, list(config.items()))]))
                    self._check(f"settings of {name}", [entry[:2] for entry in answer.resources])
                case DeleteTopic(topic=name):
                    answer = await self._ask(DeleteTopicsRequest([name], REQUEST_TIMEOUT_MS))
                    codes = [(code, None) for _, code in answer.topic_error_codes]
                    self._check(f"deleting {name}", codes, UnknownTopicOrPartitionError)
                case Revoke(right):
                    answer = await self._ask(DeleteAclsRequest(*_binding(right)))
                    self._check(f"taking right {right}", [entry[:2] for entry in answer.filter_responses])

    async def create_topics(self, topics: Sequence[Topic]) -> None:
        """Create these topics; one that exists already is left as it is."""
        if not topics:
            return
        wanted: list[tuple[Any, ...]] = [
            (topic.name, topic.partitions, topic.replication, [], list(topic.config.items())) for topic in topics
        ]
        answer = await self._ask(CreateTopicsRequest(wanted, REQUEST_TIMEOUT_MS, False))
        for name, code, message in answer.topic_errors:
            self._check(f"topic {name}", [(code, message)], TopicAlreadyExistsError)

    async def set_password(self, user: str, password: str) -> None:
        """Set a user's password for SCRAM-SHA-512; connections it has already stay open."""
        answer = await self._ask(SetPassword(user, password))
        self._check(f"the password of {user}", [entry[1:3] for entry in answer.results])

    async def _grant(self, rights: Sequence[Right]) -> None:
        if rights:
            answer = await self._ask(_Grants([_binding(right) for right in rights]))
            for right, refusal in zip(rights, answer.creation_responses, strict=True):
                self._check(f"right {right}", [refusal])

    async def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        if not names:
            return {}
        answer = await self._ask(DescribeConfigsRequest([(TOPIC_RESOURCE, name, None) for name in names]))
        found: dict[str, Mapping[str, str]] = {}
        for code, message, _, name, entries in answer.resources:
            self._check(f"settings of {name}", [(code, message)], UnknownTopicOrPartitionError)
            found[name] = {entry[0]: entry[1] for entry in entries if entry[3] == SET_ON_THE_TOPIC}
        return found

    async def _rights(self) -> frozenset[Right] | None:
        answer = await self._ask(DescribeAclsRequest(ANY, None, ANY, None, None, ANY, ANY))
        if answer.error_code == SECURITY_DISABLED:
            return None
        self._check("reading rights", [(answer.error_code, answer.error_message)])
        return frozenset(
            Right(
                principal,
                _word(OPERATIONS, operation),
                _word(KINDS, kind),
                name,
                _word(PATTERNS, pattern),
                host,
                _word(PERMISSIONS, permission),
            )
            for kind, name, pattern, entries in answer.resources
            for principal, host, operation, permission in entries
        )

    async def _ask(self, request: Request[Any]) -> Any:
        try:
            return await self._client.send(self._client.get_random_node(), request)
        except KafkaError as error:
            raise Unavailable(f"Apache Kafka at {self._settings.bootstrap} does not answer: {error}") from error

    def _check(self, what: str, answers: Sequence[tuple[int, str | None]], *harmless: type[KafkaError]) -> None:
        for code, message in answers:
            error = for_code(code)
            if not code or error in harmless:
                continue
            text = f"Apache Kafka refuses {what}: {message or error.__name__}"
            if code in NOT_ALLOWED:
                user = self._settings.sasl_username or "our user"
                raise Forbidden(text, remedy=f"{user} must be an administrator of the brokers (super.users).")
            raise Unavailable(text)


def _word(words: Mapping[int, str], code: int) -> str:
    return words.get(code, f"unknown ({code})")


def _binding(right: Right) -> tuple[int, str, int, str, str, int, int]:
    def code(words: Mapping[int, str], word: str) -> int:
        return next(number for number, text in words.items() if text == word)

    return (
        code(KINDS, right.kind),
        right.name,
        code(PATTERNS, right.pattern),
        right.principal,
        right.host,
        code(OPERATIONS, right.operation),
        code(PERMISSIONS, right.permission),
    )
