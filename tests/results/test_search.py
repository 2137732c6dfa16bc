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

    wide, narrow, shallow = read_trials(path)

    assert shallow.settings == {"network": "wide, deep", "epochs": "8"}
    assert narrow.settings == {"network": "narrow", "epochs": "15"}
    seeds, *figures, of_training = wide.measured.values()
    assert (seeds, figures, of_training) == (("1", "2"), [("99.1", "99.3"), ("0.03", "0.05")], ("99", "99"))
    assert wide.losses == [0.03, 0.05]
    assert (wide.loss.mean, wide.loss.n) == pytest.approx((0.04, 2))
    assert narrow.loss.sd is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network,seed\nwide,1\n", r"no column validation accuracy \(%\), validation loss"),
        (f"{HEADER}\n", "a header and no trials"),
    ],
)
def test_a_file_without_trials_is_named(tmp_path, text, said):
    path = tmp_path / "other.csv"
    path.write_text(text)

    with pytest.raises(InvalidArgument, match=f"other.csv: {said}"):
        read_trials(path)


def test_what_the_iteration_became_is_among_the_trials_of_its_search():
    chosen = {trial.settings["chosen as"]: trial.settings for trial in read_trials(PUBLISHED / "search_T5.csv")}

    parameters = {name: int(settings["parameters"]) for name, settings in chosen.items() if name}
    assert parameters == {"T5": T5.parameters, "T5's teacher": T5_TEACHER.parameters}
    assert (chosen["T5"]["epochs"], chosen["T5's teacher"]["epochs"]) == (str(T5.epochs), str(T5_TEACHER.epochs))
