"""What runs with different seeds say together: means and their intervals, tests of differences, corrected labels.

A run that failed to train is left out of every mean, interval, test, rank and figure, and counted beside it
(`trained`, `failures`).
"""

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev

import scipy
import torch
from torch import Tensor

from mnist_s7 import InvalidArgument
from mnist_s7.results.folders import MNIST
from mnist_s7.results.run import Run

ENOUGH = 5  # runs: of fewer, a prediction interval is so wide that it excludes hardly anything
TEST_IMAGES = 10_000  # in MNIST's test set

# MNIST test images that five annotators judged not to show the given label, and of these the digit that at least
# three of the five saw instead. From cleanlab's label-errors (Northcutt, Athalye & Mueller 2021, arXiv:2103.14749;
# github.com/cleanlab/label-errors, Apache-2.0).
LABEL_ERRORS = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
CORRECTED_LABELS = {947: 9, 1621: 6, 1901: 4, 2462: 0, 2597: 3, 3558: 0, 5937: 3, 6651: 6, 6783: 6, 9729: 6}

Runs = Mapping[str, Sequence[Run]]  # by the experiment's name


@dataclass(frozen=True)
class Summary:
    """One figure of n runs, in the unit of its values: percent for an accuracy, its SD in percentage points.

    `sd` is the sample's, with n - 1; `interval` is the 95 % confidence interval of the mean, by Student's t. One run
    has neither: both are None.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    minimum: float
    maximum: float

    def interval_within(self, lowest: float, highest: float) -> tuple[float, float] | None:
        """`interval` as far as the figure can lie there: Student's t goes beyond what an accuracy can be."""
        return self.interval and (max(self.interval[0], lowest), min(self.interval[1], highest))


@dataclass(frozen=True)
class Difference:
    """The difference of two experiments' means, in percentage points for an accuracy.

    `test` says which one gave `interval`, of 95 % confidence, and the two-sided `p`; `n` how many runs of each it has.
    """

    n: tuple[int, int]
    mean: float
    interval: tuple[float, float]
    p: float
    test: str

    @property
    def positive(self) -> bool | None:
        """Whether the mean is above zero; None where that is inconclusive, p being 0.05 or more."""
        return self.mean > 0 if self.p < 0.05 else None


def trained(runs: Iterable[Run]) -> list[Run]:
    """Those that did not fail to train."""
    return [run for run in runs if not run.failed_to_train]


def failures(runs: Sequence[Run]) -> str:
    """` (1 of 10 runs failed to train)`, or nothing where none did."""
    failed = len(runs) - len(trained(runs))
    return f" ({failed} of {len(runs)} runs failed to train)" if failed else ""


def summarize(values: Sequence[float]) -> Summary:
    """Mean and spread of `values`, one a run, in their unit. Raises `InvalidArgument` where there are none."""
    n = len(values)
    if n == 0:
        raise InvalidArgument("no values to summarize")
    return Summary(
        n=n,
        mean=mean(values),
        sd=stdev(values) if n > 1 else None,
        interval=_t_interval(values, 0.95, 1 / n) if n > 1 else None,
        minimum=min(values),
        maximum=max(values),
    )


def prediction_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Where one more run of the experiment is expected with this confidence, in the unit of `values`, one a run.

    The runs are taken to be normally distributed (Hahn & Meeker 1991, "Statistical Intervals").

    Raises `InvalidArgument` for fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise InvalidArgument(f"a prediction interval needs at least two values, found {n}")
    return _t_interval(values, confidence, 1 + 1 / n)


def compare(
    ones: Sequence[Run],
    others: Sequence[Run],
    paired: bool,
    figure: Callable[[Run], float] = lambda run: run.final.test_accuracy,
) -> Difference | None:
    """The difference of a `figure`'s means, `ones` minus `others`, of the runs that trained; None where these are fewer
    than two on a side.

    Welch's t-test with every run, or `paired` by seed, which has more power where two experiments start from the same
    weights with the same seed, and leaves out seeds that only one of them has. The figure is the final test accuracy,
    in percent, unless another is given.

    Raises `InvalidArgument` where one of them has a seed twice.
    """
    ones, others = _by_seed(trained(ones), "the first runs"), _by_seed(trained(others), "the second runs")
    if paired:
        common = ones.keys() & others.keys()
        ones, others = ({seed: runs[seed] for seed in runs if seed in common} for runs in (ones, others))
    # Rounded: an accuracy of 99.35 % can be stored as 99.35000000000001.
    a, b = ([round(figure(run), 9) for run in runs.values()] for runs in (ones, others))
    n = len(a), len(b)
    if min(n) < 2:
        return None
    centre = round(mean(a) - mean(b), 9)
    spread = {round(x - y, 9) for x, y in zip(a, b, strict=True)} if paired else {*a} if len({*b}) == 1 else {*b}
    if len(spread) == 1:  # nothing for a t-test to go by: as many rearrangements as there are are as extreme
        p = 2 / 2 ** n[0] if paired else 2 / math.comb(sum(n), n[0])
        return Difference(n, centre, (centre, centre), min(p, 1.0) if centre else 1.0, "permutation test")
    with warnings.catch_warnings():  # SciPy warns of equal values on one side, with which Welch's test is sound
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        found = scipy.stats.ttest_rel(a, b) if paired else scipy.stats.ttest_ind(a, b, equal_var=False)
    interval = tuple(map(float, found.confidence_interval(0.95)))
    return Difference(n, centre, interval, float(found.pvalue), "paired t-test" if paired else "Welch's t-test")


def compare_with_stated(values: Sequence[float], n: int, mean_of_theirs: float, sd: float) -> Difference | None:
    """The mean of `values`, minus that of `n` others of which only the mean and the standard deviation are stated:
    Welch's t-test. None for fewer than two values, or all alike.

    B. L. Welch, "The Generalization of 'Student's' Problem when Several Different Population Variances are Involved"
    (Biometrika 34, 1947), with the degrees of freedom of his equation 28.
    """
    if len({*values}) < 2:
        return None
    variances = stdev(values) ** 2 / len(values), sd**2 / n
    error = math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / (len(values) - 1) + variances[1] ** 2 / (n - 1))
    distribution = scipy.stats.t(freedom)
    difference, reach = mean(values) - mean_of_theirs, distribution.ppf(0.975) * error
    p = 2 * distribution.sf(abs(difference) / error)
    return Difference(
        (len(values), n), difference, (difference - reach, difference + reach), float(p), "Welch's t-test"
    )


def adjusted(differences: Sequence[Difference]) -> list[Difference]:
    """The same with each p adjusted for there being several of them (Holm 1979, "A Simple Sequentially Rejective
    Multiple Test Procedure", Scandinavian Journal of Statistics 6:65-70). Intervals stay as they are."""
    order = sorted(range(len(differences)), key=lambda i: differences[i].p)
    found, highest = list(differences), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min((len(order) - rank) * differences[i].p, 1.0))
        found[i] = replace(differences[i], p=highest)
    return found


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval, in percent, of a proportion: of one run's accuracy, `successes` of `n` images right.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22:209-212. Raises
    `InvalidArgument` where `successes` is not of 0 to `n`, or `n` is not positive.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise InvalidArgument(f"{successes} of {n} is not a proportion")
    low, high = scipy.stats.binomtest(int(successes), int(n)).proportion_ci(0.95, "wilson")
    return 100 * float(low), 100 * float(high)


def calibration_error(probabilities: Tensor, right: Tensor, bins: int = 15) -> float:
    """The expected calibration error, from 0 to 1: of each of the `bins` of equal width the distance between the mean
    probability of the predicted digits, (N,) of 0 to 1, and the share of those that are `right`, (N,) bool, weighted by
    the images in it.

    C. Guo, G. Pleiss, Y. Sun & K. Weinberger, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), equation
    3, with its 15 bins.
    """
    probabilities, right = probabilities.double().cpu(), right.double().cpu()
    ends = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1]
    places = torch.bucketize(probabilities, ends)  # a bin holds its upper end, as in the paper
    gaps = torch.zeros(bins, dtype=torch.float64).index_add(0, places, probabilities - right).abs()
    return float(gaps.sum() / len(probabilities))


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

    All others keep their given label. A run on other digits than MNIST's test set raises `InvalidArgument`.
    """
    if run.dataset != MNIST:
        raise InvalidArgument(
            f"{run.name} was tested on {run.dataset}, and the corrected labels are of MNIST's test images"
        )
    wrong = dict(run.errors)
    right = TEST_IMAGES - len(wrong)
    for index, digit in CORRECTED_LABELS.items():
        if index not in wrong:  # the given label was predicted, which is not the corrected one
            right -= 1
        elif wrong[index] == digit:
            right += 1
    return 100 * right / TEST_IMAGES


@dataclass(frozen=True)
class Misclassified:
    """A test image that runs get wrong: how many of them, and the digit that most of these predict."""

    index: int
    times: int
    predicted: int


def misclassified(runs: Iterable[Run]) -> list[Misclassified]:
    """The test images that at least one of the `runs` that trained gets wrong in its final epoch, those of most runs
    first."""
    predictions = defaultdict(Counter)
    for run in trained(runs):
        for index, digit in run.errors:
            predictions[index][digit] += 1
    images = [Misclassified(index, found.total(), found.most_common(1)[0][0]) for index, found in predictions.items()]
    return sorted(images, key=lambda image: (-image.times, image.index))


def _t_interval(values: Sequence[float], confidence: float, variances: float) -> tuple[float, float]:
    """Student's interval around the mean of `values`, for something of so many times their variance."""
    half = scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stdev(values) * math.sqrt(variances)
    return mean(values) - float(half), mean(values) + float(half)


def _by_seed(runs: Sequence[Run], whose: str) -> dict[int, Run]:
    """The runs by their seeds, in ascending order. Raises `InvalidArgument` where a seed is there twice."""
    twice = [seed for seed, found in Counter(run.seed for run in runs).items() if found > 1]
    if twice:
        raise InvalidArgument(f"{whose}: more than one run with seed {', '.join(map(str, sorted(twice)))}")
    return {run.seed: run for run in sorted(runs, key=lambda run: run.seed)}
