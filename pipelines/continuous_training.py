"""Train a challenger on new data, judge it against the champion on the same rows, and promote it only when it is shown to be better."""

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from kfp_ratchet.components import ops
from kfp_ratchet.pipelines.kubernetes_settings import KubernetesSettings
from kfp_ratchet.pipelines.settings import effect_step, fit_step, io_step

DEFAULTS: Mapping[str, Any] = {
    "source": "",
    "model_name": "",
    "store": "",
    "tracking_uri": "",
    "as_of": "",
    "cache_max_age": "",
    "columns": "{}",
    "window": "{}",
    "schema": "",
    "checks": "{}",
    "workload": "tabular",
    "parameters": "{}",
    "search_space": "{}",
    "trials": 0,
    "seed": 0,
    "device": "auto",
    "policy": "{}",
    "serving": "{}",
    "notifications": "{}",
}


def build(
    defaults: Mapping[str, Any] = DEFAULTS,
    recipe: str = "",
    name: str = "continuous-training",
    settings: KubernetesSettings | None = None,
) -> Any:
    """The pipeline, with the values of a `ratchet.yaml` as its parameters' defaults.

    Args:
        defaults: Default by parameter; the keys of `DEFAULTS`.
        recipe: JSON for `prepare`; the step is left out of the graph when empty.
        name: Name of the pipeline: lower case, digits and dashes.
        settings: What the pods ask of a cluster; the package's defaults when None.
    """
    d = {**DEFAULTS, **defaults}
    settings = (settings or KubernetesSettings()).labelled(model=d["model_name"])

    @dsl.pipeline(name=name, description=" ".join((__doc__ or "").split()))
    def continuous_training(
        source: str = d["source"],
        model_name: str = d["model_name"],
        as_of: str = d["as_of"],
        cache_max_age: str = d["cache_max_age"],
        trials: int = d["trials"],
        seed: int = d["seed"],
        device: str = d["device"],
        workload: str = d["workload"],
        parameters: str = d["parameters"],
        search_space: str = d["search_space"],
        columns: str = d["columns"],
        window: str = d["window"],
        schema: str = d["schema"],
        checks: str = d["checks"],
        policy: str = d["policy"],
        serving: str = d["serving"],
        notifications: str = d["notifications"],
        store: str = d["store"],
        tracking_uri: str = d["tracking_uri"],
        provenance: str = "{}",
    ) -> None:
        """Train a challenger on new data and promote it only when it is shown to be better.

        Args:
            source: Where the data is: a URI or path, or a JSON object of URIs by table, the main table first.
            model_name: Registered name of the model.
            as_of: Leave out rows after this ISO month, date or time; the newest row when empty.
            cache_max_age: After which time every step is run again even if nothing has changed, e.g. 7d; never when empty.
            trials: Tuning trials; 0 takes the workload's defaults.
            seed: Seed of every random choice.
            device: auto, cpu, cuda or cuda:N.
            workload: tabular, or package.module:Class that follows the workload protocol.
            parameters: Fixed hyperparameters as JSON.
            search_space: What to tune as JSON; the workload's own space when empty.
            columns: Roles of columns as JSON: target, problem, id, time, slices, weight, ignore.
            window: Training and evaluation window as JSON: train, evaluate, share, end.
            schema: The user's schema: pandera YAML, package.module:Model, or a JSON object of these by table.
            checks: What to do with rows that fail, and the checks across rows, as JSON.
            policy: What the gate asks of a challenger, as JSON.
            serving: Where and how to serve, as JSON.
            notifications: What to send and where, as JSON.
            store: Folder or bucket of ledger, journal, studies and checkpoints.
            tracking_uri: MLflow tracking URI.
            provenance: What only the submitter knows, as JSON: commit, dirty, repository, yaml_digest, submitted_by.
        """
        told = effect_step(ops.notify(model_name=model_name, store=store, notifications=notifications), settings)
        with dsl.ExitHandler(told, name="continuous-training"):
            pins = effect_step(
                ops.pin(
                    source=source,
                    model_name=model_name,
                    store=store,
                    columns=columns,
                    window=window,
                    as_of=as_of,
                    cache_max_age=cache_max_age,
                ),
                settings,
            ).outputs
            rows = io_step(
                ops.ingest(
                    source=source,
                    revision=pins["revision"],
                    columns=columns,
                    window=pins["window"],
                    schema=schema,
                    store=store,
                    cache_epoch=pins["cache_epoch"],
                ),
                settings,
            ).outputs["dataset"]
            rows = io_step(
                ops.validate(
                    dataset=rows,
                    schema=schema,
                    checks=checks,
                    columns=columns,
                    window=pins["window"],
                    baseline_rows=pins["baseline_rows"],
                    store=store,
                ),
                settings,
            ).outputs["accepted"]
            if recipe:
                rows = io_step(
                    ops.prepare(dataset=rows, recipe=recipe, columns=columns, store=store), settings
                ).outputs["rows"]
            fitting = {
                "dataset": rows,
                "workload": workload,
                "columns": columns,
                "window": pins["window"],
                "seed": seed,
                "device": device,
                "store": store,
            }
            best = fit_step(
                ops.tune(**fitting, parameters=parameters, search_space=search_space, trials=trials), settings
            ).outputs["Output"]
            model = fit_step(ops.train(**fitting, parameters=best), settings).outputs["model"]
            evidence = fit_step(
                ops.evaluate(
                    dataset=rows,
                    model=model,
                    columns=columns,
                    window=pins["window"],
                    model_name=model_name,
                    champion_version=pins["champion_version"],
                    champion_digest=pins["champion_digest"],
                    anchor_version=pins["anchor_version"],
                    anchor_digest=pins["anchor_digest"],
                    tracking_uri=tracking_uri,
                    store=store,
                ),
                settings,
            ).outputs["evidence"]
            judged = io_step(ops.gate(evidence=evidence, policy=policy, store=store), settings).outputs
            version = effect_step(
                ops.register(
                    model=model,
                    evidence=evidence,
                    decision=judged["decision"],
                    model_name=model_name,
                    tracking_uri=tracking_uri,
                    store=store,
                    epoch=pins["epoch"],
                    provenance=provenance,
                ),
                settings,
            ).outputs["Output"]
            with dsl.If(judged["Output"] == "promote", name="promote"):
                effect_step(
                    ops.deploy(
                        evidence=evidence,
                        decision=judged["decision"],
                        model_name=model_name,
                        version=version,
                        tracking_uri=tracking_uri,
                        store=store,
                        epoch=pins["epoch"],
                        serving=serving,
                    ),
                    settings,
                )

    return continuous_training
