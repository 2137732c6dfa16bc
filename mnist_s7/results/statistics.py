"""What runs of different seeds say together: means and how sure they are, differences, and corrected labels."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import NormalDist, mean, stdev

from mnist_s7.errors import InvalidArgument
from mnist_s7.results.run import Run

__all__ = [
    "CORRECTED_LABELS",
    "ENOUGH",
    "LABEL_ERRORS",
    "Difference",
    "Summary",
    "by_experiment",
    "corrected_accuracy",
    "paired",
    "prediction_interval",
    "summarize",
    "t_distribution",
    "t_quantile",
    "wilson",
]

UPPER = 0.975  # the quantile at the upper end of a two-sided 95 % interval

# MNIST test images that five annotators judged not to show the given label, and of these the digit that at least
# three of the five saw instead. From cleanlab's label-errors (Northcutt, Athalye & Mueller 2021, arXiv:2103.14749;
# github.com/cleanlab/label-errors, Apache-2.0).
LABEL_ERRORS = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
CORRECTED_LABELS = {947: 9, 1621: 6, 1901: 4, 2462: 0, 2597: 3, 3558: 0, 5937: 3, 6651: 6, 6783: 6, 9729: 6}
TEST_IMAGES = 10_000  # in MNIST's test set

ENOUGH = 5  # runs: of fewer, a prediction interval is so wide that it tells hardly anything


@dataclass(frozen=True)
class Summary:
    """One figure of n runs, in the unit of its values: percent for an accuracy, its deviation in points.

    `deviation` is the sample's, with n - 1; `interval` holds the mean with 95 % confidence, by Student's t. One run
    has no spread: both are None.
    """

    n: int
    mean: float
    deviation: float | None
    interval: tuple[float, float] | None
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Difference:
    """What n seeds say of the difference of two experiments, in points for an accuracy.

    `interval` holds the mean with 95 % confidence, by Student's t. `p`, two-sided, is the probability of a mean at
    least as far from zero if the experiments did not differ. Accuracies are whole images, so that every seed may differ
    by the same: then there is no spread to go by, and p is the sign test's.
    """

    n: int
    mean: float
    interval: tuple[float, float]
    p: float

    @property
    def positive(self) -> bool | None:
        """Whether the mean is above zero; None where that cannot be told."""
        return self.mean > 0 if self.p < 0.05 else None


# ------------------------------------------------------------------------------------------- intervals and tests


def summarize(values: Sequence[float]) -> Summary:
    """Mean and spread of `values`, one a run, in their unit. Raises `InvalidArgument` where there are none."""
    n = len(values)
    if n == 0:
        raise InvalidArgument("no values to summarize")
    return Summary(
        n=n,
        mean=mean(values),
        deviation=stdev(values) if n > 1 else None,
        interval=_t_interval(values, 1 / n) if n > 1 else None,
        minimum=min(values),
        maximum=max(values),
    )


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Where one more run of the experiment is to be expected with this confidence, in the unit of `values`, one a run.

    The runs are taken to be normally distributed (Hahn & Meeker 1991, "Statistical Intervals").

    Raises `InvalidArgument` for fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise InvalidArgument(f"a prediction interval needs at least two values, found {n}")
    return _t_interval(values, 1 + 1 / n, (1 + confidence) / 2)


def paired(
    ones: Sequence[Run],
    others: Sequence[Run],
    figure: Callable[[Run], float] = lambda run: run.final.test_accuracy,
) -> Difference | None:
    """The paired t-test of a `figure`, `ones` minus `others`, over the seeds with which both learned; None if these are
    fewer than two. (A run no better than guessing would drown what the others tell; whoever leaves it out tells of it.)

    The figure is the final test accuracy, in percent, unless another is given.

    Raises `InvalidArgument` where one of them has a seed twice.
    """
    ones, others = _by_seed(ones, "the first runs"), _by_seed(others, "the second runs")
    # Rounded: an accuracy of 99.35 % can be stored as 99.35000000000001.
    differences = [
        round(figure(run) - figure(others[seed]), 9)
        for seed, run in ones.items()
        if run.learned and seed in others and others[seed].learned
    ]
    n = len(differences)
    if n < 2:
        return None
    centre, deviation = mean(differences), stdev(differences)
    if deviation == 0:
        return Difference(n, centre, (centre, centre), 2 * 0.5**n if centre else 1.0)
    p = 2 * t_distribution(-abs(centre) / (deviation / math.sqrt(n)), n - 1)
    return Difference(n, centre, _t_interval(differences, 1 / n), p)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval, in percent, of a proportion: of one run's accuracy, `successes` of `n` images right.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22:209-212. Raises
    `InvalidArgument` where `successes` is not of 0 to `n`, or `n` is not positive.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise InvalidArgument(f"{successes} of {n} is not a proportion")
    z = NormalDist().inv_cdf(UPPER)
    centre = (successes + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * math.sqrt(successes * (n - successes) / n + z**2 / 4)
    return 100 * max(centre - half, 0.0), 100 * min(centre + half, 1.0)


# -------------------------------------------------------------------------------------------------- many runs


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each experiment by its name, sorted by seed; the experiments in the order of their first runs.

    Raises `InvalidArgument` where the runs are not all on the same digits, or an experiment has a seed twice.
    """
    datasets = sorted({run.dataset for run in runs})
    if len(datasets) > 1:
        raise InvalidArgument(f"runs on different digits do not belong together: {', '.join(datasets)}")
    experiments: dict[str, list[Run]] = {}
    for run in runs:
        experiments.setdefault(run.experiment, []).append(run)
    return {name: list(_by_seed(group, name).values()) for name, group in experiments.items()}


def corrected_accuracy(run: Run) -> float:
    """The final test accuracy in percent, had the ten images of `CORRECTED_LABELS` their corrected labels.

    All others keep their given label. A run on other digits than MNIST's raises `InvalidArgument`.
    """
    if run.stand_in:
        raise InvalidArgument(
            f"{run.name} was trained on {run.dataset}, and the corrected labels are of MNIST's test images"
        )
    wrong = dict(run.errors)
    right = TEST_IMAGES - len(wrong)
    for index, digit in CORRECTED_LABELS.items():
        if index not in wrong:  # the given label was predicted, which is not the corrected one
            right -= 1
        elif wrong[index] == digit:
            right += 1
    return 100 * right / TEST_IMAGES


# ------------------------------------------------------------------------------------------------- Student's t


def t_distribution(t: float, df: float) -> float:
    """P(T <= t) of Student's t with `df` degrees of freedom.

    By the regularised incomplete beta function (Abramowitz & Stegun 1964, 26.7.1): outside, P(|T| > |t|) is that of
    df / (df + t^2), so that small tails keep their digits; near zero, P(|T| < |t|) is that of t^2 / (df + t^2).
    """
    square = t * t
    if square > 3 * df / (df + 2):  # where the continued fraction of the one begins, and that of the other ends
        tail = _beta(df / (df + square), df / 2, 0.5) / 2
        return tail if t < 0 else 1 - tail
    return 0.5 + math.copysign(_beta(square / (df + square), 0.5, df / 2) / 2, t)


def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = `p`, found by bisection. Raises `InvalidArgument` where `p` is not between 0 and 1."""
    if not 0 < p < 1:
        raise InvalidArgument(f"a quantile needs a probability between 0 and 1, found {p}")
    if p > 0.5:
        return -t_quantile(1 - p, df)
    low, high = -1.0, 0.0
    while t_distribution(low, df) > p:
        low *= 2
    while low < (middle := (low + high) / 2) < high:
        if t_distribution(middle, df) < p:
            low = middle
        else:
            high = middle
    return high


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for x up to (a + 1) / (a + b + 2).

    The continued fraction of NIST DLMF 8.17.22, which converges fast there, by Lentz's method (1976, Applied Optics
    15:668).
    """
    if x == 0:
        return 0.0
    front = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    fraction, numerator, denominator = 1.0, 1.0, 0.0
    for k in count(1):
        m = k // 2
        if k % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        numerator = 1 + d / numerator
        denominator = 1 / (1 + d * denominator)
        fraction *= numerator * denominator
        if not abs(numerator * denominator - 1) > 1e-15:  # a NaN ends it too
            return math.exp(front) / (a * fraction)


def _t_interval(values: Sequence[float], variances: float, upper: float = UPPER) -> tuple[float, float]:
    """Student's interval around the mean of `values`, for something of so many times their variance."""
    half = t_quantile(upper, len(values) - 1) * stdev(values) * math.sqrt(variances)
    return mean(values) - half, mean(values) + half


def _by_seed(runs: Sequence[Run], whose: str) -> dict[int, Run]:
    """The runs by their seeds, in ascending order. Raises `InvalidArgument` where a seed is there twice."""
    twice = [seed for seed, found in Counter(run.seed for run in runs).items() if found > 1]
    if twice:
        raise InvalidArgument(f"{whose}: more than one run with seed {', '.join(map(str, sorted(twice)))}")
    return {run.seed: run for run in sorted(runs, key=lambda run: run.seed)}
