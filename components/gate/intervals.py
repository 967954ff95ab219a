"""How far a metric, and the gain of one model over another, would vary with other rows: intervals, p-values and power.

Which method is used where was chosen by simulation, by one question: how often is a candidate promoted that is exactly as good as the
champion? At a confidence of 95 % no more than 5 % may be. benchmarks/gate_statistics.py asks it of what is used here, in 103 cells of
metric, rows, correlation, imbalance, clusters and make of error: none is shown to be above 5 %, the highest is 5.2 %, the mean 3.3 %.
The other methods below were measured when this one was chosen, with 1,000 to 4,000 draws a cell.

- *Rows, metric with an influence (all but calibration_error and users' functions): closed form.* The variance is the sum of the squares
  of what each row adds to the difference: for roc_auc DeLong's (DeLong et al. 1988), for accuracy McNemar's. The quantile is Student's,
  with as many degrees of freedom as the rows that carry the difference make up (Satterthwaite, by the kurtosis of the contributions: of
  1,000 rows with 30 positives about 15 count); where the contributions are skewed the interval is widened by Hall's transformation
  (Hall 1992); and half of the largest contribution is taken off at each end, as in a continuity correction: the next row may be such.
  Where the two models' errors are of another make, the candidate's rare and large, on 250 to 1,000 rows, this promotes 3 to 5 %, the
  normal interval 6 to 10 %, the percentile bootstrap 6 to 11 %, BCa 5 to 10 %, a bootstrapped t 5 to 11 %. No method sees what the rows
  do not show: where 3 % of 250 rows hold most of the error this promotes 9 %, percentile 15 %, BCa 13 %.
- *Up to 100 clusters: delete-one-cluster jackknife*, Student's quantile with at most as many degrees of freedom as the clusters' sizes
  allow (Kish). On 10 to 30 clusters it promotes at most 5 %; a first-order variance by cluster with Student's quantile up to 10 %
  (average_precision), and rows taken for independent up to 32 % (rmse).
- *More clusters: closed form* with the contributions summed by cluster.
- *No influence: bootstrap* of rows or clusters; the wider of the percentile interval and Student's with the bootstrap's standard error.

*Shares of rows.* Twenty answers that are all right have no variance, and are no proof: with precision 0.9 that happens once in eight times.
So a share (precision, recall, accuracy, churn; roc_auc by itself) counts as if one more row spoke against it, in the variance, the degrees
of freedom and the largest contribution; a difference only where the two models' shares are of different rows, as precisions are. Without
it, equal precisions were promoted in 12 to 31 % of the draws where the candidate answers 5 to 100 rows; with it in less than 1 %.

Whatever the method, the interval of a difference mirrors exactly when the two models are swapped.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import chdtri, stdtr, stdtrit

from kfp_ratchet.components.gate.bootstrap import resample, without_each
from kfp_ratchet.components.gate.metrics import Array, Statistic
from kfp_ratchet.components.shared.decision import Interval

IntArray = npt.NDArray[np.int64]
POWER = 0.8
JACKKNIFE_CLUSTERS = 100
_OUT_OF_REACH = 1e6
"""Times as precise: a million million times the rows."""


@dataclass(frozen=True)
class Sampling:
    """How the rows were drawn, and how sure one wants to be.

    Attributes:
        weight: Of each row, shape (n,), positive.
        cluster: Codes 0..G-1 of shape (n,): rows of one code are not independent. None: every row is.
        confidence: Of each end of an interval by itself, e.g. 0.95.
        resamples: How many, where there is no closed form.
        seed: The same seed draws the same rows, on every machine.
    """

    weight: Array
    cluster: IntArray | None = None
    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    @cached_property
    def share(self) -> Array:
        """What each unit, a row or a cluster, weighs of the whole."""
        units = self.weight if self.cluster is None else np.bincount(self.cluster, self.weight)
        found: Array = units / self.weight.sum()
        return found

    @property
    def jackknife(self) -> bool:
        """Are there so few clusters that each is left out in turn?"""
        return self.cluster is not None and len(self.share) <= JACKKNIFE_CLUSTERS

    @property
    def freedom(self) -> float:
        """Degrees of freedom that units of these weights leave at most (Kish 1965)."""
        return float(1 / (self.share**2).sum() - 1)


@dataclass(frozen=True)
class Estimated:
    """A value and what is known of it.

    Attributes:
        interval: Ends are None where the value is not finite or does not vary finitely.
        error: Standard error of the value; NaN where the interval has no ends.
        freedom: Degrees of freedom of the standard error.
        p_below: The evidence that the true value lies below a bound: one-sided p-value, small when it does.
        method: How the interval was found, in a few words.
    """

    interval: Interval
    error: float
    freedom: float
    p_below: Callable[[float], float]
    method: str


@dataclass(frozen=True)
class Needed:
    """What it takes to decide: rows, and the clusters they come in where there are clusters."""

    rows: int
    clusters: int | None = None


def measure(
    statistics: Mapping[str, Statistic], differences: Mapping[str, tuple[str, str, int]], sampling: Sampling
) -> dict[str, Estimated]:
    """Estimate statistics and their differences on the same rows.

    Args:
        statistics: Prepared metrics of the same n rows, from `metrics.prepare`.
        differences: Name to (own, other, sign): `sign * (own - other)`, names of `statistics`.
        sampling: How the rows were drawn.

    Returns:
        By name of both mappings.
    """
    with np.errstate(all="ignore"):  # what is undefined comes out as NaN, and its interval without ends
        values = {name: float(each(sampling.weight[None, :])[0]) for name, each in statistics.items()}
        pairs = [{own, other} for own, other, _ in differences.values()]
        added = _added(statistics, sampling)
        drawn = _drawn(statistics, pairs, added, sampling)
        forms = {name: each.form for name, each in statistics.items()}
        for name, (own, other, sign) in differences.items():
            values[name], forms[name] = sign * (values[own] - values[other]), forms[own]
            for by_name in (added, drawn):
                if own in by_name and other in by_name:
                    by_name[name] = sign * (by_name[own] - by_name[other])
        unseen = {name: [each.contrary(sampling.weight)] for name, each in statistics.items()}
        for name, (own, other, _) in differences.items():
            one, two = statistics[own], statistics[other]
            unseen[name] = [one.contrary(sampling.weight, two), two.contrary(sampling.weight, one)]
        return {
            name: _closed(value, added[name], np.array(unseen[name]), forms[name], sampling)
            if name in added
            else _bootstrapped(value, drawn[name], sampling)
            for name, value in values.items()
        }


def detectable(found: Estimated, power: float = POWER) -> float:
    """How far above the margin a true gain must lie to be promoted with this probability, on rows like these.

    NaN when unknown: the gain has no interval, or no row tells the two models apart.
    """
    return _reach(found, 1, power) if found.error > 0 else math.nan


def rows_to_decide(found: Estimated, bound: float, sampling: Sampling, power: float = POWER) -> Needed | None:
    """About how many rows would decide, with this probability, on which side of a bound a value lies if it stays as it is.

    Returns:
        None when no number in reach would.
    """
    value = found.interval.value
    if value is None or found.interval.low is None or value == bound:
        return None
    ratio = _reach(found, 1 if value > bound else -1, power) / abs(value - bound)
    if not ratio <= _OUT_OF_REACH:
        return None
    more = max(ratio**2, 1.0)
    clusters = None if sampling.cluster is None else math.ceil(more * len(sampling.share))
    return Needed(rows=math.ceil(more * len(sampling.weight)), clusters=clusters)


def rounded(value: float) -> float | None:
    """A number to 12 significant digits, so that the last bits of a processor's arithmetic do not show; None when it is not finite."""
    return float(f"{value:.12g}") if math.isfinite(value) else None


def _reach(found: Estimated, side: int, power: float) -> float:
    """From the value to the end of its interval on one side, and as far again as chance takes it in 1 - power of the samples.

    The standard error is itself an estimate: what is promised with this power must hold for the largest that it may well be.
    """
    value, low, high = found.interval.value, found.interval.low, found.interval.high
    if value is None or low is None or high is None:
        return math.nan
    reach = (value - low if side > 0 else high - value) + float(stdtrit(found.freedom, power)) * found.error
    if found.error == 0:
        return reach
    # Nothing is left of a quantile of no degrees of freedom, when one row weighs as much as all others by far.
    smallest = float(chdtri(found.freedom, power))
    return reach * math.sqrt(found.freedom / smallest) if smallest > 0 else math.inf


def _added(statistics: Mapping[str, Statistic], sampling: Sampling) -> dict[str, Array]:
    """What each unit adds to a statistic beyond the rest, shape (units,), for the statistics of which that can be said."""
    if sampling.jackknife and sampling.cluster is not None:
        without = without_each(list(statistics.values()), sampling.weight, sampling.cluster)
        return {name: each.mean() - each for name, each in zip(statistics, without, strict=True)}
    added = {}
    for name, statistic in statistics.items():
        influence = statistic.influence(sampling.weight)
        if influence is not None:
            own = influence * (sampling.weight / sampling.weight.sum())
            own = own if sampling.cluster is None else np.bincount(sampling.cluster, own)
            added[name] = own / (1 - sampling.share)
    return added


def _drawn(
    statistics: Mapping[str, Statistic], pairs: list[set[str]], added: Mapping[str, Array], sampling: Sampling
) -> dict[str, Array]:
    """Bootstrap draws of the statistics that `added` does not hold, and of those they are compared with."""
    lacking = statistics.keys() - added.keys()
    needed = lacking | {name for pair in pairs if pair & lacking for name in pair}
    names = [name for name in statistics if name in needed]
    if not names:
        return {}
    chosen = [statistics[name] for name in names]
    draws = resample(chosen, sampling.weight, sampling.resamples, sampling.seed, sampling.cluster)
    return dict(zip(names, draws, strict=True))


def _closed(value: float, added: Array, unseen: Array, form: str, sampling: Sampling) -> Estimated:
    """From what each unit adds: Student's interval, widened where the contributions are skewed and, but for a jackknife, by half of the
    largest one. `unseen` is what rows would add that are not there; their sign is not known, so they do not count as skewed."""
    units = len(added)
    squares = float((added**2).sum() + (unseen**2).sum())
    error = math.sqrt(squares * (units - 1) / units)
    if sampling.cluster is not None:
        form = f"{'jackknife' if sampling.jackknife else form} over {units:,} clusters"
    if not (math.isfinite(value) and math.isfinite(error)):
        return _undefined(value, form)
    if error == 0:
        only = rounded(value)
        return Estimated(
            Interval(value=only, low=only, high=only), 0.0, math.inf, lambda bound: float(value >= bound), form
        )
    skewness = (
        float((added * added**2).sum()) / squares**1.5
    )  # a power of 3 is not exactly odd, and the swap would not mirror
    excess = float((added**4).sum() + (unseen**4).sum()) / squares**2 - 1 / units
    freedom = min(2 / excess if excess > 0 else math.inf, sampling.freedom)
    half = 0.0 if sampling.jackknife else float(max(np.abs(added).max(), unseen.max())) / 2
    student = float(stdtrit(freedom, sampling.confidence))
    low, high = (half + error * max(student, _unskewed(student, skewness * side)) for side in (1, -1))

    def p_below(bound: float) -> float:
        above = (value + half - bound) / error
        return float(max(stdtr(freedom, above), stdtr(freedom, _skewed(above, skewness))))

    low, high = value - low, value + high
    if len(unseen) == 1 and unseen[0] > 0:  # a share by itself
        low, high = max(low, 0.0), min(high, 1.0)
    found = Interval(value=rounded(value), low=rounded(low), high=rounded(high))
    return Estimated(found, error, freedom, p_below, f"{form}, {freedom:,.0f} degrees of freedom")


def _bootstrapped(value: float, drawn: Array, sampling: Sampling) -> Estimated:
    """The wider of Student's interval with the bootstrap's standard error and the percentile interval."""
    units, freedom = len(sampling.share), sampling.freedom
    method = f"bootstrap, {len(drawn):,} resamples" + (
        f" of {units:,} clusters" if sampling.cluster is not None else ""
    )
    error = float(drawn.std(ddof=1)) * math.sqrt(units / (units - 1)) if units > 1 else math.nan
    if not (math.isfinite(value) and math.isfinite(error)) or (value != 0 and np.ptp(drawn) == 0):
        return _undefined(value, method)  # a difference that no choice of rows changes is more than rows can tell
    half = float(stdtrit(freedom, sampling.confidence)) * error
    low = min(value - half, float(np.quantile(drawn, 1 - sampling.confidence)))
    # Not the upper quantile: this one is to the last bit what the lower one is for the models swapped.
    high = max(value + half, -float(np.quantile(-drawn, 1 - sampling.confidence)))

    def p_below(bound: float) -> float:
        return float(stdtr(freedom, (value - bound) / error)) if error > 0 else float(value >= bound)

    found = Interval(value=rounded(value), low=rounded(low), high=rounded(high))
    return Estimated(found, error, freedom, p_below, method)


def _undefined(value: float, method: str) -> Estimated:
    return Estimated(Interval(value=rounded(value)), math.nan, math.nan, lambda _: 1.0, method)


def _skewed(student: float, skewness: float) -> float:
    """Hall's cubic transformation (1992): takes the skewness out of a studentised sum."""
    return student + skewness * (student**2 / 3 + 1 / 6) + skewness**2 * student**3 / 27


def _unskewed(student: float, skewness: float) -> float:
    """Its inverse; the straight line where the cubic is one to rounding."""
    if abs(skewness) < 1e-6:
        return student - skewness * (student**2 / 3 + 1 / 6)
    return 3 / skewness * (math.cbrt(1 + skewness * (student - skewness / 6)) - 1)
