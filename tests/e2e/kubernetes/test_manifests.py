"""The manifests on a real API server: all of it accepted, and every service account able to do what it needs and no more."""

import base64
import os
import shutil
import subprocess
import time
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes import client
from pods import executors, pod_spec

from kfp_ratchet.components.deploy.kubernetes import api as deployer_api
from kfp_ratchet.components.deploy.kubernetes.objects import deployment, pool_name
from kfp_ratchet.components.deploy.kubernetes.target import KubernetesLive, KubernetesTarget
from kfp_ratchet.components.deploy.serving import KubernetesServing
from kfp_ratchet.components.shared.entry import Draft
from kfp_ratchet.components.shared.errors import RatchetError
from kfp_ratchet.pipelines.compile import continuous_training_yaml
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings

pytestmark = pytest.mark.slow

MANIFESTS = Path(__file__).parents[3] / "manifests"
RULES = next(
    each["rules"]
    for each in yaml.safe_load_all((MANIFESTS / "base" / "deployer.yaml").read_text())
    if each["kind"] == "Role"
)


RIGHTS = sorted(right for rule in RULES for right in product(rule["apiGroups"], rule["resources"], rule["verbs"]))
BREAKS = {
    ("services", "get"): "look",
    ("services/proxy", "create"): "probe",
    ("services", "update"): "switch",
    ("deployments", "list"): "stop",
    ("deployments", "delete"): "stop",
}
"""What cannot be done without a right; without the others, `launch`."""
UNREADY = {"launch": ("not ready after 1 s", "cannot fetch the model"), "probe": ("no endpoints available",)}
"""What else is said, as nothing is there to be served."""


@pytest.fixture
def applied(kubeconfig, namespace, tmp_path) -> str:
    """A namespace that the example overlay was applied to."""
    # Beside the one on the path, the cluster's own.
    places = os.pathsep.join([os.environ["PATH"], os.environ.get("KT_BIN", str(Path.home() / ".cache/kt/bin"))])
    kubectl = shutil.which("kubectl", path=places)
    assert kubectl, f"there is no kubectl in {places}"
    example = os.path.relpath(MANIFESTS / "overlays" / "example", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": namespace, "resources": [example]}))
    command = [kubectl, "--kubeconfig", kubeconfig, "apply", "--server-side", "-k", str(tmp_path.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return namespace


def acting_as(api, namespace: str, account: str) -> client.ApiClient:
    """A client with a service account's own token."""
    made = client.CoreV1Api(api).create_namespaced_service_account_token(account, namespace, {"spec": {}})
    configuration = client.Configuration(host=api.configuration.host)
    configuration.ssl_ca_cert = api.configuration.ssl_ca_cert
    configuration.api_key = {"authorization": f"Bearer {made.status.token}"}
    return client.ApiClient(configuration)


def may(api, account: str, verb: str, group: str, resource: str, namespace: str) -> bool:
    """Whether a service account ("namespace:name") may do something, as the API server decides."""
    resource, _, sub = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": sub, "namespace": namespace}
    review = {"spec": {"user": f"system:serviceaccount:{account}", "resourceAttributes": asked}}
    return client.AuthorizationV1Api(api).create_subject_access_review(review).status.allowed


def test_who_may_do_what(api, applied):
    allowed = set(RIGHTS)
    tempting = {
        *(("", "secrets", verb) for verb in ("get", "list", "create", "patch")),
        *(("apps", "deployments", verb) for verb in ("get", "create", "patch", "delete")),
        *(((group, resource, "create") for group, resource in (("", "pods/exec"), ("", "serviceaccounts/token")))),
        ("", "configmaps", "get"),
        ("", "pods", "create"),
        ("", "services", "patch"),
        ("rbac.authorization.k8s.io", "roles", "patch"),
        ("rbac.authorization.k8s.io", "rolebindings", "create"),
    }
    for group, resource, verb in sorted(allowed | tempting):
        what = f"{verb} {resource}"
        deployer = may(api, f"{applied}:ratchet-deployer", verb, group, resource, applied)
        assert deployer == ((group, resource, verb) in allowed), f"the deployer may{' not' * (not deployer)} {what}"
        assert not may(api, f"{applied}:ratchet-deployer", verb, group, resource, "default"), f"{what} elsewhere"
        # The one right of steps: to see why a pod of their run died.
        step = may(api, f"{applied}:ratchet-run", verb, group, resource, applied)
        assert step == (what == "list pods"), f"ratchet-run may{' not' * (not step)} {what}"
        assert not may(api, f"{applied}:default", verb, group, resource, applied), f"default may {what}"


def test_a_steps_own_token_opens_nothing(api, applied):
    """Not only by the rules: the calls that a training pod would make."""
    step = acting_as(api, applied, "ratchet-run")
    for call in (
        lambda: client.CoreV1Api(step).read_namespaced_secret("ratchet-s3", applied),
        lambda: client.CoreV1Api(step).list_namespaced_secret(applied),
        lambda: client.AppsV1Api(step).list_namespaced_deployment(applied),
        lambda: client.AppsV1Api(step).delete_namespaced_deployment("any", applied),
    ):
        with pytest.raises(client.ApiException) as refused:
            call()
        assert refused.value.status == 403


def test_pods_of_steps_and_servers_pass_the_namespaces_rules_and_its_quota(api, applied, images):
    core = client.CoreV1Api(api)

    def submitted(**settings) -> None:
        text = continuous_training_yaml({}, "{}", "", KubernetesSettings.model_validate(settings))
        for label, (container, wanted) in executors(text).items():
            pod = pod_spec({**container, "image": images["slim"]}, wanted, {}, label)
            core.create_namespaced_pod(applied, pod, dry_run="All")

    submitted(security_context={})
    draft = Draft.model_construct(version="1", digest="sha256:0")
    served = deployment(KubernetesServing(image=images["serve"]), "flights", draft, 1, "http://mlflow")
    template = served["spec"]["template"]
    pod = {**template, "metadata": {**template["metadata"], "generateName": "flights-"}}
    core.create_namespaced_pod(applied, pod, dry_run="All")
    with pytest.raises(client.ApiException, match="violates PodSecurity"):
        submitted()
    with pytest.raises(client.ApiException, match="exceeded quota"):
        submitted(security_context={}, fit={"memory": "200G", "memory_limit": "200G"})


def test_the_deployers_role_suffices_and_without_any_of_its_rights_a_step_fails(
    api, applied, images, tmp_path, monkeypatch
):
    core, rbac = client.CoreV1Api(api), client.RbacAuthorizationV1Api(api)
    secret = token_secret(core, applied)
    host = urlsplit(api.configuration.host)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(host.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(host.port))
    # As `kubernetes.deployer_secret` mounts it.
    monkeypatch.setattr(deployer_api, "DEPLOYER", tmp_path / "deployer")
    (tmp_path / "deployer").mkdir()
    for key, content in secret.items():
        (tmp_path / "deployer" / key).write_bytes(content)
    assert deployed(images["slim"], "whole") == ("", "")

    for number, (group, resource, verb) in enumerate(RIGHTS):
        account = f"without-{number}"
        core.create_namespaced_service_account(applied, {"metadata": {"name": account}})
        rules = [
            {"apiGroups": [one], "resources": [what], "verbs": [how]}
            for one, what, how in RIGHTS
            if (one, what, how) != (group, resource, verb)
        ]
        rbac.create_namespaced_role(applied, {"metadata": {"name": account}, "rules": rules})
        binding = {
            "metadata": {"name": account},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": applied}],
        }
        rbac.create_namespaced_role_binding(applied, binding)
        made = core.create_namespaced_service_account_token(account, applied, {"spec": {}})
        (tmp_path / "deployer" / "token").write_text(made.status.token)
        until(
            lambda account=account, right=RIGHTS[number - 1]: may(
                api, f"{applied}:{account}", right[2], *right[:2], applied
            )
        )
        step, told = deployed(images["slim"], f"m{number}")
        assert step == BREAKS.get((resource, verb), "launch"), f"nothing fails without {verb} {resource}: {step} {told}"
        assert f'cannot {verb} resource "{resource}"' in told


def token_secret(core: client.CoreV1Api, namespace: str) -> dict[str, bytes]:
    """What the controller has put into the Secret of the manifests."""
    until(lambda: "token" in (core.read_namespaced_secret("ratchet-deployer", namespace).data or {}))
    data = core.read_namespaced_secret("ratchet-deployer", namespace).data
    return {key: base64.b64decode(value) for key, value in data.items()}


def deployed(image: str, model: str) -> tuple[str, str]:
    """What of a deploy the API server refuses for want of a right, and in which words; empty when nothing.

    The pods never get ready, as there is no MLflow: that is said by the target, and is no matter of rights.
    """
    serving = KubernetesServing(image=image, startup_seconds=1, memory="64Mi", cpu="10m")
    target = KubernetesTarget(serving, model, "http://localhost:1")
    pool = pool_name(model, "1", 1)
    draft = Draft.model_construct(version="1", digest="sha256:0")
    live = KubernetesLive(version="1", digest="sha256:0", url="", entry=1, committed=True, pool=pool)
    probe = f"/api/v1/namespaces/{target.api.namespace}/services/{pool}:http/proxy/invocations"

    def look() -> None:
        assert target.live() is None

    def launch() -> None:
        target.launch(draft, 1, None, None)

    def switch() -> None:
        target.switch(live)
        target.switch(live.model_copy(update={"entry": 2}))

    def stop() -> None:
        assert target.stop() == [pool]

    steps: dict[str, Any] = {
        "look": look,
        "launch": launch,
        "probe": lambda: target.api.ask("POST", probe, {}),
        "switch": switch,
        "stop": stop,
    }
    for name, step in steps.items():
        try:
            step()
        except RatchetError as error:
            if "no permission" in str(error):
                return name, str(error)
            assert any(text in str(error) for text in UNREADY.get(name, ())), error
    return "", ""


def until(holds: Any) -> None:
    for _ in range(100):
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError("it does not come true")
