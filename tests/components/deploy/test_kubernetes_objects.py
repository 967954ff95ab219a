"""What is sent to the API server, and what a section `serving` may say."""

import json
import re

import pytest

from kfp_ratchet.components.deploy.kubernetes import objects
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesTarget
from kfp_ratchet.components.deploy.serving import Canary, KubernetesServing, Serving, parse_serving
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import InputError
from kfp_ratchet.pipelines.config import Config

MADE = Draft(kind="promote", version="7", digest="sha256:d", epoch=0, run="r")
SERVING = KubernetesServing(
    image="images/serve:1", fetch_secrets=["s3"], fetch_environment={"AWS_REGION": "eu"}, pull_secrets=["pull"]
)


def made(**settings):
    return objects.deployment(SERVING.model_copy(update=settings), "flights", MADE, 12, "http://mlflow:5000")


def test_the_target_names_the_kind():
    assert isinstance(parse_serving(""), Serving)
    assert isinstance(parse_serving('{"port": 1}'), Serving)
    assert isinstance(parse_serving('{"target": "kubernetes", "replicas": 2}'), KubernetesServing)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"target": "moon"}', "no target 'moon'"),
        ('{"target": "kubernetes", "port": 1}', "serving.port is not a setting"),
        ('{"target": "local", "replica": 1}', "serving.replica is not a setting"),
        ('{"target": "kubernetes", "replicas": 0}', "serving.replicas"),
        ('{"target": "kubernetes", "startup_seconds": 500, "bake_seconds": 41}', "startup_seconds and bake_seconds"),
        ('{"target": "kubernetes", "canary": {"seconds": 31}}', "startup_seconds, canary.seconds and bake_seconds"),
        ("[", "serving is not JSON"),
    ],
)
def test_a_wrong_section_is_refused(text, says):
    with pytest.raises(InputError, match=says.replace("[", "\\[")):
        parse_serving(text)


def test_a_configuration_without_an_image_serves_from_the_packages_own():
    given = {"name": "m", "source": "s3://b", "schema": "a.b:C", "columns": {"target": "y"}}
    own = {"target": "kubernetes"}
    config = Config.model_validate({**given, "serving": own, "images": {"registry": "r.example.com"}})
    assert json.loads(str(config.parameters()["serving"])) == {**own, "image": config.images.serve}
    assert config.images.serve.startswith("r.example.com/")
    config = Config.model_validate({**given, "serving": {**own, "image": "mine"}})
    assert json.loads(str(config.parameters()["serving"]))["image"] == "mine"
    assert Config.model_validate({**given, "serving": {"port": 3}}).parameters()["serving"] == '{"port":3}'


def test_a_canary_joins_the_live_pods_and_no_deployment_takes_anothers():
    live = made()
    canary = objects.deployment(
        SERVING.model_copy(update={"replicas": 9, "canary": Canary(replicas=2)}),
        "flights",
        MADE,
        13,
        "http://mlflow",
        joins="flights-v7-12",
    )
    labels = canary["spec"]["template"]["metadata"]["labels"]
    assert labels[objects.POOL] == live["metadata"]["name"], "the Service that clients ask reaches it"
    assert canary["spec"]["replicas"] == 2
    own = live["spec"]["selector"]["matchLabels"]
    assert own.items() <= live["spec"]["template"]["metadata"]["labels"].items() and not own.items() <= labels.items()
    assert canary["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for kept in (objects.MODEL, objects.MANAGED_BY, objects.ENTRY):
        assert canary["metadata"]["labels"][kept], "whoever settles finds it"


def test_a_pod_fits_the_restricted_standard_and_only_its_first_step_has_credentials():
    pod = made()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"] == {
        "type": "RuntimeDefault"
    }
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"] == {"memory": "2Gi"}
    (fetch,), (server,) = pod["initContainers"], pod["containers"]
    assert fetch["envFrom"] == [{"secretRef": {"name": "s3"}}]
    assert not {"env", "envFrom"} & server.keys()
    assert pod["imagePullSecrets"] == [{"name": "pull"}]


def test_several_pods_are_spread_over_nodes_and_zones():
    assert "topologySpreadConstraints" not in made()["spec"]["template"]["spec"]
    spread = made(replicas=2)["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_a_pod_answers_until_every_node_has_seen_that_it_ends():
    pod = made()["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    linger = int(command[command.index("--linger") + 1])
    assert 5 <= linger < pod["terminationGracePeriodSeconds"] - 5


@pytest.mark.parametrize("model", ["m", "Flights_EU", "9lives", "a" * 50, "a.b", "ends-", "ü"])
def test_names_are_dns_labels_and_stay_apart(model):
    names = [objects.service_name(model), objects.pool_name(model, "12", 123456)]
    for name in names:
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name), name
    assert len(names[1]) <= 58
    assert objects.service_name("Flights") != objects.service_name("flights")
    assert objects.pool_name(model, "1", 2) != objects.pool_name(model, "1", 3)
    assert objects.pool_name("a" * 50, "1", 2) != objects.pool_name("a" * 49 + "b", "1", 2)


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "./mlruns"])
def test_a_registry_that_pods_cannot_reach_is_refused_before_anything_starts(uri):
    with pytest.raises(InputError, match="pods cannot fetch"):
        KubernetesTarget(SERVING, "m", uri, api=object()).stage("1", "sha256:d", lambda into: into)
