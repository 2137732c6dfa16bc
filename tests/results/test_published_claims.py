"""What is said of a stated accuracy, on runs whose intervals can be computed by hand or simulated."""

import re

import pytest
import torch
from scipy import stats

from mnist_s7 import Run
from mnist_s7.baselines import PUBLISHED_NETWORKS
from mnist_s7.results import BEST_EPOCH, FIGURES, LAST_EPOCH, LAST_THREE, RULE, Epoch, check_claim

# Mean 99.30, SD 0.0791; t(0.975, 4) is 2.776, so that one more run is expected within 0.2405 of the mean.
FINALS = [99.20, 99.25, 99.30, 99.35, 99.40]


def run(seed, final, above=0.1):
    """Its best epoch is so far above the final one, and the one between them in their middle."""
    tests = [90.0, final + above, final + above / 2, final]
    epochs = [Epoch(i, 0.01, 0.1, 99.0, 0.05, test, 6.0) for i, test in enumerate(tests)]
    return Run("theirs", "a recipe", seed, "MNIST", 5_000, {}, epochs, [])


def ending(*finals):
    return [run(seed, final) for seed, final in enumerate(finals, start=1)]


@pytest.mark.parametrize(
    ("figure", "accuracy", "words"),
    [
        (LAST_EPOCH, 99.54, "reproduced"),  # no epoch or run was selected, so that it is not optimistic
        (LAST_EPOCH, 99.55, "not reproduced"),
        (LAST_EPOCH, 99.06, "reproduced"),
        (LAST_EPOCH, 99.05, "exceeded"),
        (BEST_EPOCH, 99.64, "reproduced, optimistic by 0.34 pp"),
        (BEST_EPOCH, 99.65, "not reproduced, optimistic by 0.35 pp"),
        (BEST_EPOCH, 99.39, "reproduced"),  # below 99.3982, where the mean's confidence interval ends
        (BEST_EPOCH, 99.40, "reproduced, optimistic by 0.10 pp"),
        (BEST_EPOCH, 99.15, "exceeded"),
        (LAST_THREE, 99.59, "reproduced"),
        (LAST_THREE, 99.60, "not reproduced"),
        (None, 99.30, "not comparable"),
    ],
)
def test_a_claim_is_compared_with_the_same_figure(figure, accuracy, words):
    assert check_claim(ending(*FINALS), accuracy, figure).words == words


def test_the_best_of_several_runs_may_be_higher():
    """By as much as Bonferroni has it; and it is selected, whichever epoch it is of."""
    mean, half = 99.3, stats.t.ppf(1 - 0.025 / 60, 4) * stats.tstd(FINALS) * (6 / 5) ** 0.5

    found = check_claim(ending(*FINALS), 99.57, LAST_EPOCH, best_of=60)

    assert found.interval == pytest.approx((mean - stats.t.ppf(0.975, 4) * stats.tstd(FINALS) * 1.2**0.5, mean + half))
    assert found.words == "reproduced, optimistic by 0.27 pp"
    assert check_claim(ending(*FINALS), 99.57, LAST_EPOCH).words == "not reproduced"
    assert check_claim(ending(*FINALS), mean + half + 0.01, LAST_EPOCH, best_of=60).verdict == "not reproduced"


@pytest.mark.parametrize("best_of", [1, 20])
def test_a_true_claim_is_seldom_said_not_to_be_reproduced(best_of):
    """Where ours and theirs are draws of one distribution, in at most 2.5 % of cases: exactly so for one run."""
    generator = torch.Generator().manual_seed(1)
    draws = 99 + 0.1 * torch.randn(1_000, 10 + best_of, generator=generator, dtype=torch.float64)
    above = sum(
        check_claim(ending(*ours), max(theirs), LAST_EPOCH, best_of).verdict == "not reproduced"
        for ours, theirs in ((row[:10], row[10:]) for row in draws.tolist())
    )

    assert (10 if best_of == 1 else 1) <= above <= 40  # of 1,000, where 25 are expected of one run


def test_few_runs_are_inconclusive():
    found = check_claim(ending(*FINALS[:4]), 99.9, BEST_EPOCH)

    assert (found.words, found.interval, found.final.n) == ("inconclusive", None, 4)


def test_seeds_that_reach_the_claim_are_counted():
    """A run that failed to train is one that does not, and is in no mean."""
    found = check_claim([*ending(*FINALS), run(6, 11.35, above=0)], 99.35, BEST_EPOCH)

    assert (found.runs, found.final.n, found.reached_final, found.reached_best) == (6, 5, 2, 4)
    assert (found.final.mean, found.best.mean) == (pytest.approx(99.3), pytest.approx(99.4))
    assert check_claim([run(1, 11.35)], 99.35, BEST_EPOCH) is None


def test_runs_that_are_all_alike_reproduce_what_they_give():
    assert check_claim(ending(*[99.3] * 5), 99.3, LAST_EPOCH).words == "reproduced"
    assert check_claim(ending(*[99.3] * 5), 99.4, BEST_EPOCH).words == "reproduced, optimistic by 0.10 pp"


def test_the_rule_names_each_verdict():
    verdicts = {"reproduced", "not reproduced", "exceeded", "inconclusive", "not comparable", "optimistic"}

    assert verdicts == set(re.findall(r"\*([a-z ]+)\*", RULE))


STATED = [each for each in PUBLISHED_NETWORKS if each.stated]


@pytest.mark.parametrize("each", STATED, ids=lambda each: each.experiment.name)
def test_a_claims_figure_is_what_its_words_say(each):
    stated = each.stated

    assert stated.figure is None or stated.figure in FIGURES
    assert (stated.figure == BEST_EPOCH) == stated.how.startswith("best epoch")
    assert (stated.figure == LAST_THREE) == stated.how.startswith("mean of the last three epochs")
    assert stated.figure != LAST_EPOCH or stated.how.startswith(("last epoch", "one run, tested once"))
    said = re.search(r"the best of (?:about )?(\d+) runs|(two|better of two) runs", stated.how)
    assert stated.best_of == (1 if said is None else int(said[1] or 2))
