"""Say how the run ended and why."""

from kfp import dsl

from kfp_ratchet.components._image import SLIM
from kfp_ratchet.components.shared.step import step


@step(SLIM)
def notify(
    status: dsl.PipelineTaskFinalStatus,
    report: dsl.Output[dsl.HTML],
    model_name: str,
    store: str,
    notifications: str = "{}",
) -> None:
    """Say how the run ended and why: writes the run's report and sends messages.

    Goes by the run journal, since the final status of a real server is not to be trusted.

    Args:
        status: Filled in by Kubeflow Pipelines.
        report: The run's report, one self-contained page.
        model_name: Registered name of the model.
        store: Folder or bucket of ledger and journal.
        notifications: What to send and where, as JSON; see `Notifications`. URLs with credentials come from the environment.
    """
    from kfp_ratchet.components.notify.messages import notify_end

    notify_end(status.state, model_name, store, notifications, report.path, report.uri)
