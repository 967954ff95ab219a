import optuna
import pytest

from kfp_ratchet.components.shared.store import Store
from kfp_ratchet.components.tune.storage import StoreJournal


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path))


def test_two_writers_lose_nothing_and_agree_on_the_order(store):
    one, two = StoreJournal(store, "studies/x"), StoreJournal(store, "studies/x")
    for i in range(6):
        (one, two)[i % 2].append_logs([{"op_code": 0, "entry": i}, {"op_code": 0, "entry": i + 0.5}])
    written = [log["entry"] for log in one.read_logs(0)]
    assert written == [i / 2 for i in range(12)] == [log["entry"] for log in two.read_logs(0)]
    assert [log["entry"] for log in two.read_logs(10)] == [5.0, 5.5]
    assert list(one.read_logs(12)) == []


def test_two_processes_share_a_study(store):
    def study():
        storage = optuna.storages.JournalStorage(StoreJournal(store, "studies/x"))
        return optuna.create_study(storage=storage, study_name="x", load_if_exists=True)

    one, two = study(), study()
    one.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=2)
    two.optimize(lambda trial: trial.suggest_float("a", 0, 1), n_trials=2)
    assert [trial.number for trial in one.trials] == [0, 1, 2, 3]
    assert one.best_value == two.best_value
