"""The page, written from a reader's own runs."""

import dataclasses
import json
import re

from mnist_s7.commands.options import DATASETS
from mnist_s7.report.stored import stored_runs
from mnist_s7.results import MNIST


def test_the_page_is_written_from_ones_own_runs(mnist_s7, on_few_digits, monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "mnist", on_few_digits.name)
    mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", tmp_path)

    code, output, errors = mnist_s7("page", tmp_path, "--output", tmp_path / "new" / "page.html")

    assert (code, errors) == (0, "")
    assert output.endswith(f"written: {tmp_path / 'new' / 'page.html'}\n")
    text = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert '<th scope="row" class="words"><a href="#of-T1">T1</a></th>' in text
    assert '{"name": "T1", "data": ' in text  # the network of that run answers
    assert "on few digits, not on MNIST" in re.search("<h1>(.*?)</h1>", text)[1]


def test_a_folder_without_runs_is_told(mnist_s7, tmp_path):
    code, _, errors = mnist_s7("page", tmp_path)

    assert code == 1
    assert f"{tmp_path}: no run on {MNIST}; `mnist-s7 train T3`" in errors


def test_the_published_seeds_stand_beside_ones_own(mnist_s7, tmp_path):
    own = stored_runs()["T3"][0]
    model = own.model
    for changes in ({"seed": 77}, {"experiment": "mine"}):  # a network that nobody knows here
        dataclasses.replace(own, weights=None, trained_model=model, **changes).save(tmp_path)

    code, output, errors = mnist_s7("page", tmp_path, "--output", tmp_path / "page.html")

    assert (code, errors) == (0, "")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(re.search('<script id="data" type="application/json">(.*?)</script>', text)[1])
    experiments = {each["name"]: each for each in data["experiments"]}
    assert experiments["T3"]["seeds"] == [*range(1, 11), 77]
    assert experiments["mine"]["seeds"] == [1]
    assert "mine is left out: " in text
    assert data["first"] == ["T1", "T2", "T3", "T4", "mine"]
    published = sum(map(len, stored_runs().values()))
    assert f"in {published + 2} training runs, {published} of them published with the package" in text
