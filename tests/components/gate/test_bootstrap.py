import numpy as np
import pytest

from kfp_ratchet.components.gate import bootstrap
from kfp_ratchet.components.gate.bootstrap import resample, without_each
from kfp_ratchet.components.gate.metrics import prepare, score


def rows(n=50, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.random(n) < 0.4).astype(float), rng.random(n)


def test_both_models_are_weighed_by_the_same_resample():
    label, one = rows(100)
    drawn = resample([prepare("roc_auc", label, one), prepare("roc_auc", label, one.copy())], np.ones(100), 200, seed=1)
    assert (drawn[0] == drawn[1]).all()
    assert drawn[0].std() > 0


def test_a_heavy_row_is_heavy_in_every_resample():
    label, scores = np.zeros(100), np.linspace(0, 1, 100)
    weight = np.where(scores > 0.5, 10.0, 0.1)
    plain, weighted = (resample([prepare("mae", label, scores)], w, 400, seed=1)[0] for w in (np.ones(100), weight))
    value = score("mae", label, scores, weight)
    assert weighted.mean() == pytest.approx(value, abs=4 * weighted.std() / 20)
    assert abs(plain.mean() - value) > 0.1


@pytest.mark.parametrize("cluster", [None, np.arange(50) // 7])
def test_chunks_do_not_change_what_is_drawn(monkeypatch, cluster):
    label, one = rows()
    statistic = [prepare("roc_auc", label, one)]
    whole = resample(statistic, np.ones(50), 300, 5, cluster)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 50 * 7)
    assert (resample(statistic, np.ones(50), 300, 5, cluster) == whole).all()


class Seen:
    """Keeps the weights it is asked for."""

    form = ""

    def __init__(self):
        self.weights = []

    def __call__(self, weights):
        self.weights.extend(weights.copy())
        return weights.sum(axis=1)

    def influence(self, weight):
        return None


def test_a_cluster_is_drawn_as_a_whole():
    seen, cluster = Seen(), np.repeat(np.arange(8), 5)[np.random.default_rng(0).permutation(40)]
    resample([seen], np.ones(40), 50, 1, cluster)
    for weights in seen.weights:
        assert all(len(set(weights[cluster == code])) == 1 for code in range(8))
        assert weights.sum() == 40
    assert any(weights.max() > 1 for weights in seen.weights)


def test_the_jackknife_leaves_out_each_cluster_once(monkeypatch):
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 40 * 3)
    seen, cluster, weight = Seen(), np.arange(40) % 8, np.linspace(1, 2, 40)
    without_each([seen], weight, cluster)
    assert [weights.tolist() for weights in seen.weights] == [
        np.where(cluster == code, 0, weight).tolist() for code in range(8)
    ]
