"""The Kafka of a deployment, with what the deployment's own commands make in it."""

from collections.abc import Iterator

import pytest

from support.secured_broker import TOPICS, SecuredBroker, secured_broker, topics_command, wait_for_users


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    """A secured broker with the deployment's topics, rights and passwords, made by the commands of the deployment."""
    with secured_broker() as made:
        for arguments in (["apply", TOPICS, "--replication", "1"], ["set-passwords", made.passwords]):
            done = topics_command(made, *arguments)
            assert done.returncode == 0, done.stderr
        wait_for_users(made)
        yield made
