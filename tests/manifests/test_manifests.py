"""What the manifests say, without a cluster: everything is listed, nobody may do more than they need, no secret stands in them."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from kfp_ratchet.components.deploy.kubernetes.objects import PORT, deployment
from kfp_ratchet.components.deploy.kubernetes.rules import RULES
from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.shared.credentials import secret_in
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.pipelines import settings
from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.pipelines.config import load

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
FILES = sorted(MANIFESTS.rglob("*.yaml"))
RESOURCES = [path for path in FILES if path.name != "kustomization.yaml"]
SECRETS = MANIFESTS / "overlays" / "example" / "secrets.yaml.example"


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def everything(kind: str) -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each
        for path in [*RESOURCES, SECRETS]
        for each in documents(path)
        if each["kind"] == kind
    }


def test_every_file_is_listed_where_it_lies_and_every_listed_one_exists():
    assert len(RESOURCES) > 5
    listed: set[Path] = set()
    for path in set(FILES) - set(RESOURCES):
        (kustomization,) = documents(path)
        for name in [*kustomization.get("resources", []), *kustomization.get("components", [])]:
            target = (path.parent / name).resolve()
            assert target.exists(), f"{path} lists {name}"
            listed.add(target if target.is_file() else target / "kustomization.yaml")
    roots = {path.resolve() for path in MANIFESTS.glob("overlays/*/kustomization.yaml")}
    assert listed | roots == {path.resolve() for path in FILES}


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_every_resource_is_whole_and_leaves_its_namespace_to_the_overlay(path):
    for each in documents(path):
        assert each["apiVersion"] and each["kind"] and each["metadata"]["name"]
        assert "namespace" not in each["metadata"], "kustomize sets it"


@pytest.mark.parametrize("path", [*FILES, SECRETS], ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_no_secret_stands_in_a_manifest(path):
    assert not secret_in(path.read_text())
    for secret in (each for each in documents(path) if each["kind"] == "Secret"):
        assert set(secret.get("stringData", {}).values()) <= {"REPLACE", ""}
        assert "data" not in secret


def test_nobody_is_given_everything_and_steps_are_given_nothing():
    roles = everything("Role")
    for rule in (rule for role in roles.values() for rule in role["rules"]):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert not {"secrets", "configmaps", "pods/exec", "roles", "rolebindings"} & set(rule["resources"])
    given = {
        name: [subject["name"] for subject in each["subjects"]] for name, each in everything("RoleBinding").items()
    }
    assert given == {"ratchet-deployer": ["ratchet-deployer"], "ratchet-run-reads-pods": ["ratchet-run"]}
    assert roles["ratchet-run-reads-pods"]["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    assert not everything("ClusterRole") and not everything("ClusterRoleBinding")


def test_the_deployer_is_given_what_its_code_asks_for():
    role = everything("Role")["ratchet-deployer"]

    def each_right(rules: Iterable[dict[str, Any]]) -> set[tuple[str, str, str]]:
        return {right for rule in rules for right in product(rule["apiGroups"], rule["resources"], rule["verbs"])}

    assert each_right(role["rules"]) == each_right(RULES)


def test_network_policies_select_the_pods_that_steps_and_deployments_make():
    policies = everything("NetworkPolicy")
    (step,) = policies["ratchet-steps"]["spec"]["podSelector"]["matchExpressions"]
    serving = policies["ratchet-serving"]["spec"]
    draft = Draft.model_construct(version="1", digest="sha256:0")
    pod = deployment(KubernetesServing(), "flights", draft, 1, "http://mlflow")
    labels = pod["spec"]["template"]["metadata"]["labels"]
    assert serving["podSelector"]["matchLabels"].items() <= labels.items()
    assert step["key"] not in labels
    text = continuous_training_yaml({"model_name": "flights"})
    assert f"{step['key']}: deploy" in text
    assert serving["ingress"][0]["ports"] == [{"port": PORT}]


def test_namespaces_hold_pods_to_the_strictest_rules():
    (namespace,) = everything("Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_secrets_have_the_keys_that_the_settings_take_by_default():
    secrets = everything("Secret")
    for kind, keys in settings._KEYS.items():
        assert set(secrets[f"ratchet-{kind}"]["stringData"]) == set(keys)


def test_applied_again_the_example_touches_no_secret_but_the_deployers_token():
    """Placeholders in the place of real credentials would stop every run."""
    made = [each for path in RESOURCES for each in documents(path) if each["kind"] == "Secret"]
    assert [each["type"] for each in made] == ["kubernetes.io/service-account-token"]
    assert not any("stringData" in each or "data" in each for each in made)


def test_the_pages_example_uses_what_the_manifests_make(tmp_path):
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    example = next(block for block in page.split("```yaml\n")[1:] if block.startswith("kubernetes:")).split("```")[0]
    path = tmp_path / "ratchet.yaml"
    path.write_text(f"name: flights\nsource: data\nschema: rows:Rows\ncolumns: {{target: late}}\n{example}")
    wanted = load(path).kubernetes
    named = {wanted.deployer_secret} | {
        each.name for each in (wanted.secrets.s3, wanted.secrets.mlflow, wanted.secrets.notify) if each
    }
    assert named == set(everything("Secret"))
    for each in wanted.config_maps:
        assert set(each.env) == set(everything("ConfigMap")[each.name]["data"])
