"""Manifests run what deploy/Dockerfile builds, as the user it is built for."""

from __future__ import annotations

from support import dockerfile
from support.manifests import TOPICS, Built

STAGES = dockerfile.stages()
SERVICE = "service"
"""The name of the container that runs our code."""
TOPICS_SOURCE = "deploy/kafka/topics.yaml"


def check_images_are_built(built: Built) -> list[str]:
    """Every image has a target; what starts is what the image starts; the user is the image's."""
    found = []
    for workload in built.workloads():
        security = workload.spec["securityContext"]
        user = f"{security['runAsUser']}:{security['runAsGroup']}"
        for container in workload.containers:
            stage = STAGES.get(container["image"].rpartition("/")[2].partition(":")[0])
            if stage is None:
                found.append(f"{workload.name}: nobody builds {container['image']}")
                continue
            made_for = [*STAGES["runtime"].all("USER"), *stage.all("USER")][-1]
            if made_for != user:
                found.append(f"{workload.name}: runs as {user}, its image is made for {made_for}")
            if container["name"] == SERVICE and container["command"] != stage.command("ENTRYPOINT"):
                found.append(f"{workload.name}: starts {container['command']}, its image {stage.command('ENTRYPOINT')}")
    return found


def check_topics_file_is_in_the_image(built: Built) -> list[str]:
    """The Job names the path to which the image copies the file."""
    [job] = [workload for workload in built.workloads() if workload.name == TOPICS]
    [place] = [rest.split()[-1] for rest in STAGES[TOPICS].all("COPY") if TOPICS_SOURCE in rest.split()]
    return [] if place in job.container["args"] else [f"{TOPICS}: the file is {place}"]
