"""The page, written from a reader's own runs."""

import dataclasses
import json
import re

from mnist_s7.commands import page
from mnist_s7.commands.options import DATASETS
from mnist_s7.report.stored import stored_runs
from mnist_s7.results import MNIST, SYNTHETIC


def test_the_page_is_written_from_ones_own_runs(mnist_s7, on_few_digits, monkeypatch, tmp_path):
    monkeypatch.setitem(DATASETS, "mnist", on_few_digits.name)
    mnist_s7("train", "T1", "--epochs", 1, "--device", "cpu", "--output", tmp_path)

    code, output, errors = mnist_s7("page", tmp_path, "--output", tmp_path / "new" / "page.html")

    assert (code, errors) == (0, "")
    assert output.endswith(f"written: {tmp_path / 'new' / 'page.html'}\n")
    text = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert '<th scope="row" class="words"><a href="#of-T1--1-epoch"><bdi>T1, 1 epoch</bdi></a></th>' in text
    assert '{"name": "T1, 1 epoch", "data": ' in text  # the network of that run answers
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
    assert "Left out: mine (" in text
    assert data["first"] == ["T1", "T2", "T3", "T4", "T5", "mine"]
    published = sum(map(len, stored_runs().values()))
    assert f"in {published + 2} training runs, {published} of them published with the package" in text


def test_runs_of_fewer_epochs_are_an_experiment_of_their_own(mnist_s7, tmp_path):
    own = stored_runs()["T1"][0]
    short = dataclasses.replace(own, epochs=own.epochs[:14], errors=[], weights=None)
    right = dataclasses.replace(short.epochs[-1], test_accuracy=100.0)  # as no errors say
    dataclasses.replace(short, epochs=[*short.epochs[:-1], right]).save(tmp_path)

    code, _, errors = mnist_s7("page", tmp_path, "--output", tmp_path / "page.html")

    assert (code, errors) == (0, "")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<bdi>T1, 14 epochs</bdi></a></th><td data-value="100.0">100.00</td>' in text
    assert f"T1 for another number of epochs: test accuracy 100.00 %, 1 run, {own.parameters:,} parameters" in text
    data = json.loads(re.search('<script id="data" type="application/json">(.*?)</script>', text)[1])
    assert len(next(each for each in data["experiments"] if each["name"] == "T1")["seeds"]) == len(stored_runs()["T1"])


def test_a_folder_that_is_not_there_and_one_with_other_digits(mnist_s7, tmp_path):
    assert f"{tmp_path / 'none'}: there is no such folder" in mnist_s7("page", tmp_path / "none")[2]

    synthetic = SYNTHETIC / "T1-seed1-synthetic-digits.json"
    (tmp_path / synthetic.name).write_bytes(synthetic.read_bytes())
    assert "no run on MNIST, but on synthetic digits: see --dataset" in mnist_s7("page", tmp_path)[2]


def test_a_page_on_other_digits_has_their_name(mnist_s7, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "RUNS", tmp_path / "results")
    synthetic = SYNTHETIC / "T1-seed1-synthetic-digits.json"
    (tmp_path / synthetic.name).write_bytes(synthetic.read_bytes())

    code, output, errors = mnist_s7("page", tmp_path, "--dataset", "synthetic")

    assert (code, errors) == (0, "")
    assert output == f"written: {tmp_path / 'page-synthetic-digits.html'}\n"
    assert "on synthetic digits, not on MNIST" in (tmp_path / "page-synthetic-digits.html").read_text(encoding="utf-8")
    assert page.page_path(MNIST) == tmp_path / "page.html"
