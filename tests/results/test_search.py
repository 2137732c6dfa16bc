"""Trials of a search, read from their file."""

import pytest

from mnist_s7 import T5, InvalidArgument
from mnist_s7.experiments import T5_TEACHER
from mnist_s7.results import PUBLISHED
from mnist_s7.results.search import read_trials

HEADER = "network,epochs,seed,validation accuracy (%),validation loss (nats),train accuracy (%)"


def test_runs_that_differ_in_their_seed_are_of_one_trial(tmp_path):
    path = tmp_path / "search.csv"
    path.write_text(
        f'{HEADER}\n"wide, deep",15,1,99.1,0.03,99\nnarrow,15,1,99.0,0.02,98\n"wide, deep",15,2,99.3,0.05,99\n'
        '"wide, deep",8,2,99.0,0.01,97\n'
    )

    shallow, narrow, wide = read_trials(path)

    assert shallow.settings == {"network": "wide, deep", "epochs": "8"}
    assert narrow.settings == {"network": "narrow", "epochs": "15"}
    assert (wide.accuracies, wide.losses) == ((99.1, 99.3), (0.03, 0.05))
    assert (wide.accuracy.mean, wide.loss.mean, wide.loss.n) == pytest.approx((99.2, 0.04, 2))
    assert narrow.loss.sd is None


def test_a_file_of_something_else_is_named(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("network,seed\nwide,1\n")

    with pytest.raises(InvalidArgument, match=r"other.csv: no column validation accuracy \(%\), validation loss"):
        read_trials(path)


@pytest.mark.parametrize("name", ["T4", "T5"])
def test_the_published_searches_can_be_read(name):
    trials = read_trials(PUBLISHED / f"search_{name}.csv")

    assert [trial.loss.mean for trial in trials] == sorted(trial.loss.mean for trial in trials)
    assert all(99 < accuracy < 100 for trial in trials for accuracy in trial.accuracies)


def test_what_the_iteration_became_is_among_the_trials_of_its_search():
    chosen = {trial.settings["chosen as"]: trial.settings for trial in read_trials(PUBLISHED / "search_T5.csv")}

    parameters = {name: int(settings["parameters"]) for name, settings in chosen.items() if name}
    assert parameters == {"T5": T5.parameters, "T5's teacher": T5_TEACHER.parameters}
    assert (chosen["T5"]["epochs"], chosen["T5's teacher"]["epochs"]) == (str(T5.epochs), str(T5_TEACHER.epochs))
