"""What is said of published networks, on made-up runs of them: of none, of few and of all."""

import dataclasses
import re

import pytest
from example_runs import ENVIRONMENT, errors
from test_across_seeds import cells, ending, run

from mnist_s7 import plots, report
from mnist_s7.baselines import PUBLISHED_NETWORKS
from mnist_s7.catalog import EXPERIMENTS
from mnist_s7.data import PROJECT
from mnist_s7.page.measured import public_data
from mnist_s7.report import pages, readme, results_page, stored
from mnist_s7.report.published_networks import against_ours, checked_claims, claim_details, stated_elsewhere
from mnist_s7.results import PUBLIC_NETWORKS, RULE, Epoch, Run, compare
from mnist_s7.schedules import Stepped

PUBLISHED = {each.experiment.name: each for each in PUBLISHED_NETWORKS}
OURS = {"T5": ending("T5", 99.48, 99.50, 99.52, 99.51, 99.49)}


def of(name, *finals, above=0.1):
    """Runs of a published network with these finals; the epoch before is `above` higher, and the best."""
    parameters = EXPERIMENTS[name].parameters
    runs = [run(name, seed, [final, final, final + above, final]) for seed, final in enumerate(finals, start=1)]
    return [dataclasses.replace(each, parameters=parameters) for each in runs]


def around(name, mean):
    return of(name, *(mean + step for step in (-0.04, -0.02, 0, 0.02, 0.04)))


def test_a_claim_stands_beside_our_runs():
    """The mean of parrotletml's best epochs is 99.40, and their claim of 99.43 is one."""
    said = report.claims_table({"parrotletml-3762": around("parrotletml-3762", 99.30)})

    source = "https://github.com/parrotletml/era_session_seven/tree/a558eb2"
    assert cells(said, "[parrotletml-3762]") == [
        f"[parrotletml-3762]({source})",
        *("3,762", "99.43", "best epoch", "5", "99.30 ± 0.03", "99.26 to 99.34", "99.40 ± 0.03", "0 / 1 of 5"),
        "reproduced, optimistic by 0.13 pp",
    ]
    assert RULE in said


def test_networks_are_sorted_and_variants_stand_beside_theirs():
    names = ["satyajit-9962", "hexhowells-820-stepped", "navyabhat-4312-stepped", "hexhowells-807-stepped"]
    names += ["navyabhat-4312", "hexhowells-807", "navyabhat-4312-no-dropout-on-logits", "hexhowells-820"]
    baselines = {name: of(name, 98.0, 98.1) for name in names}
    baselines["navyabhat-4312-stepped"] = of("navyabhat-4312-stepped", 98.05, 98.2)

    rows = re.findall(r"^\| \[([\w-]+)\]", report.claims_table(baselines), re.M)

    assert rows == [
        *("hexhowells-807", "hexhowells-807-stepped", "hexhowells-820", "hexhowells-820-stepped"),
        *("navyabhat-4312", "navyabhat-4312-no-dropout-on-logits", "navyabhat-4312-stepped", "satyajit-9962"),
    ]
    variant = cells(report.claims_table(baselines), "[navyabhat-4312-stepped]")
    assert variant[2:5] == ["-", "a variant", "2"] and variant[-2:] == ["-", "-"]
    row = cells(report.variants_table(baselines), "navyabhat-4312-stepped minus navyabhat-4312")
    assert row[1:4] == [EXPERIMENTS["navyabhat-4312-stepped"].change, "paired, 2 seeds", "+0.075"]


@pytest.mark.parametrize(
    ("mean", "words"), [(98.761, "no difference can be told"), (98.9, "ours end higher"), (98.6, "ours end lower")]
)
def test_our_runs_stand_beside_all_of_theirs_where_they_publish_them(mean, words):
    said = report.claims_table({"joshwarn-997": around("joshwarn-997", mean)})

    assert (
        "publish the final accuracies of all their 223 runs: 98.76 ± 0.10 %. Those of our 5 of joshwarn-997 are "
        in said
    )
    assert f"Welch's t-test): {words}. What is not as with them: the learning rate follows" in said
    assert "**Protocol.**" not in report.claims_table({"sunpau-6128": around("sunpau-6128", mean)})
    assert "**Protocol.**" not in report.claims_table({"joshwarn-997": of("joshwarn-997", 9.8, 9.8)})


def test_a_variant_stands_beside_them_with_what_it_still_differs_in():
    name = "joshwarn-997-by-test-set"

    said = report.claims_table({name: around(name, 98.761)})

    assert f"Those of our 5 of {name} are 98.76 ± 0.03 %" in said
    assert "the learning rate follows the training loss" not in said
    assert "What is not as with them: the last, smaller batch" in said


def test_what_the_test_set_selects_is_said():
    selecting = "In theirs and in ours, the test set selects the learning rate and the last epoch."
    names = ["joshwarn-697", "joshwarn-997-by-test-set", "joshwarn-997", "sunpau-6128"]

    said = [selecting in claim_details({name: around(name, 98.5)}) for name in names]

    assert said == [True, True, False, False]
    assert "the test set selects" not in claim_details({"sunpau-6128": around("sunpau-6128", 99.4)})


def test_a_network_that_never_trains_keeps_its_row():
    said = report.claims_table({"sunpau-6128": of("sunpau-6128", 9.8, 11.35)})

    assert cells(said, "[sunpau-6128]")[4:] == ["0 (2 of 2 runs failed to train)", *["-"] * 5]
    assert checked_claims({"sunpau-6128": of("sunpau-6128", 9.8, 11.35)}) == []


def test_details_have_what_the_authors_did_and_what_differs():
    each = PUBLISHED["eva6-9320"]

    said = claim_details({"eva6-9320": of("eva6-9320", 99.5), "navyabhat-4312-stepped": of("navyabhat-4312", 98.0)})

    assert f"/EVA6-Group-15/MNIST_99_4/tree/b8834aa): {each.stated.how}. Ours: {each.differs}." in said
    assert f"a variant, of which nothing is stated; {EXPERIMENTS['navyabhat-4312-stepped'].change}." in said


@pytest.mark.parametrize(
    ("mean", "words"),
    [(99.40, "none is better as a mean than T5, 1 lower, 0 inconclusive"),
     (99.505, "none is better as a mean than T5, 0 lower, 1 inconclusive"),
     (99.60, "1 is better as a mean than T5 (sunpau-6128), 0 lower, 0 inconclusive")],
)  # fmt: skip
def test_our_place_is_tested(mean, words):
    baselines = {"sunpau-6128": around("sunpau-6128", mean), "uday96-8500": around("uday96-8500", 99.9)}

    said = report.place(OURS, baselines)

    found = compare(baselines["sunpau-6128"], OURS["T5"], paired=False)
    assert said.startswith("We trained 1 of ") and words in said
    assert "99.50 ± 0.02 % (95 % CI 99.48 to 99.52, 5 seeds)" in said
    assert f"that of sunpau-6128, {mean:.2f} ± 0.03 % (5 seeds), {found.mean:+.3f} pp from T5's" in said
    assert "Welch's t-test, p adjusted by Holm for 1 comparison)" in said
    assert "uday96" not in said + against_ours(OURS, baselines)  # it has more than 8,000 parameters


def test_every_p_of_our_place_is_adjusted_for_the_others():
    """By itself, each is lower, with p = 0.04; of fifteen, none is known to be."""
    lower = [name for name, each in PUBLISHED.items() if each.stated and EXPERIMENTS[name].parameters < 8_000][:15]
    one = {lower[0]: of(lower[0], 99.45, 99.50, 99.44, 99.49, 99.45)}

    assert "1 lower, 0 inconclusive" in report.place(OURS, one)
    assert "0 lower, 15 inconclusive" in report.place(
        OURS, {name: of(name, 99.45, 99.50, 99.44, 99.49, 99.45) for name in lower}
    )


def test_measured_networks_replace_what_is_stated_of_them():
    baselines = {"joshwarn-997": of("joshwarn-997", 98.7, 98.8), "hexhowells-807": of("hexhowells-807", 97.9)}
    baselines["hexhowells-807-stepped"] = of("hexhowells-807-stepped", 98.3)

    said = report.public_comparison(OURS, baselines)

    assert cells(said, "[joshwarn-997]")[1:] == [
        *("997", "98.75 ± 0.07", "trained again here: mean of 2 runs, final epoch"),
    ]
    assert cells(said, "[hexhowells-807]")[2:] == ["97.90", "trained again here: one run"]
    assert "stepped" not in said  # nothing is stated of it
    assert "mean of 223 runs" not in said and "as stated: mean of 1,500 runs" in said
    assert len(stated_elsewhere(baselines)) == len(PUBLIC_NETWORKS) - 1
    assert stated_elsewhere({}) == list(PUBLIC_NETWORKS)


def test_what_selection_adds_has_a_row_for_each_experiment():
    runs = {"T3": of("T3", 99.3, 99.4), "sunpau-6128": around("sunpau-6128", 99.4), "T1": of("T1", 98.2)}

    said = report.selection_table(runs)

    assert cells(said, "sunpau-6128")[1:] == [
        *("6,128", "13", "5", "+0.100", "+0.100 to +0.100", "+0.040", "+0.140"),
    ]
    assert cells(said, "T3")[-2:] == ["-", "-"]
    assert "| T1 " not in said  # of one run, nothing is known
    assert "needs two runs" in report.selection_table({})
    assert "needs two runs" in readme.selection_summary({})


def test_without_runs_it_is_said_how_to_make_some():
    for said in (report.place(OURS, {}), report.claims_table({}), claim_details({}), results_page._published(OURS, {})):
        assert said.startswith("No runs of published networks are stored: `mnist-s7 sweep NAME")
    assert "No difference is tested" in report.variants_table({})
    assert report.claims_figure(OURS, {}) is None
    assert readme.published_networks(OURS, {}) == ""


# ------------------------------------------------------------------------------------------ the pages and the page

FIVE = ["hexhowells-807", "gustawdaniel-4266", "sunpau-6128", "snehanshu-7918", "eva6-9320"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Stores whole runs of these networks in the place of the published ones."""

    def save(*names, seeds=6):
        for name in names:
            for seed in range(1, seeds + 1):
                whole(name, seed).save(tmp_path / "baselines")
        monkeypatch.setattr(stored, "PUBLISHED_BASELINES", tmp_path / "baselines")
        stored.stored_runs.cache_clear()
        return stored.baseline_runs()

    (tmp_path / "baselines").mkdir()
    yield save
    stored.stored_runs.cache_clear()


def whole(name, seed):
    """A run as its experiment is today; its last but one epoch is the best."""
    experiment, final = EXPERIMENTS[name], round(99.0 + 0.01 * (seed * 7 % 5), 2)
    tests = [98.0] * (experiment.epochs - 2) + [final + 0.05, final]
    known = experiment.schedule.stepped is Stepped.EPOCH
    rates = experiment.learning_rates(experiment.epochs) if known else [0.01] * experiment.epochs
    epochs = [Epoch(i, lr, 0.1, 99.0, 0.05, test, 6.0) for i, (lr, test) in enumerate(zip(rates, tests, strict=True))]
    missed, parameters = errors(final), experiment.parameters
    return Run(name, experiment.fingerprint, seed, "MNIST", parameters, ENVIRONMENT, epochs, missed)


@pytest.mark.parametrize("names", [[], FIVE[:2], FIVE])
def test_the_pages_are_made_with_whatever_is_stored(store, measured, names):
    baselines = store(*names)

    said = readme.readme_parts([measured])["published"]
    parts = results_page.results_parts([measured])

    assert sorted(baselines) == sorted(names)
    assert (said != "") == (len(names) >= 5)
    assert (pages.CLAIMS in pages._figures()) == bool(names)
    assert parts["published"].count("](https://github.com/") == 2 * len(names)
    assert all(f"\n| {name} " in parts["selection"] for name in [*names, "T4"])
    for draw, _ in pages._figures().values():
        draw().draw_without_rendering()


def test_the_readme_has_our_place_the_verdicts_the_selection_and_where_the_rest_is(store):
    baselines = store(*FIVE)
    said = readme.published_networks(stored.stored_runs(), baselines)

    better, reproduced, selection, _, rest = said.split("\n")
    largest = max(run.parameters for runs in baselines.values() for run in runs)
    assert better.startswith("- **Is one better?** We trained 4 of ")
    assert f"Of the 5 that authors state, of networks with up to {largest:,} parameters: " in reproduced
    assert selection.startswith("- **What does selection add?** In the ") and rest.startswith("[All claims beside our ")
    anchor = re.search(r"notebooks/results/README.md#([\w-]+)", said)[1]
    headings = re.findall(r"^## (.*)$", (PROJECT / "notebooks/results/README.md").read_text(encoding="utf-8"), re.M)
    assert anchor in [heading.lower().replace(",", "").replace(" ", "-") for heading in headings]


def test_verdicts_are_counted(store):
    baselines = store(*FIVE)
    found = {claim.experiment: claim.verdict for claim in checked_claims(baselines)}

    said = readme.published_networks(stored.stored_runs(), baselines)

    for verdict in found.values():
        assert f"{sum(each == verdict for each in found.values())} {verdict}" in said


def test_the_page_has_measured_networks_where_there_are_runs(store):
    store()
    stated = public_data()
    assert [network["name"] for network in stated] == [network.source for network in PUBLIC_NETWORKS]
    assert not any(network["trainedAgain"] for network in stated)

    store("joshwarn-997", "sunpau-6128")
    again, others = public_data()[:2], public_data()[2:]

    assert [(each["name"], each["parameters"], each["trainedAgain"]) for each in again] == [
        ("joshwarn-997", 997, True),
        ("sunpau-6128", 6_128, True),
    ]
    measured = "the network of sunpau/ERA_V1_S7, trained again here: mean of 6 runs, final epoch"
    assert again[1]["measured"] == measured and again[1]["mean"] == pytest.approx(99.02, abs=0.005)
    assert len(others) == len(PUBLIC_NETWORKS) - 1


def test_a_changed_claim_makes_its_figure_stale(store, monkeypatch):
    store(*FIVE)
    before = pages._figures()[pages.CLAIMS][1]
    claims = [dataclasses.replace(claim, accuracy=99.99) for claim in checked_claims(stored.baseline_runs())]
    monkeypatch.setattr(pages, "checked_claims", lambda baselines: claims)

    assert pages._figures()[pages.CLAIMS][1] != before


def test_the_notebooks_figure_is_drawn_of_the_claims_that_have_runs(store):
    figure = report.claims_figure(stored.stored_runs(), store("sunpau-6128", "sudhakarmlal-5854"))

    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == [
        "sudhakarmlal-5854",
        "sunpau-6128",
        "T3, 6,544",
        "T2, 7,416",
        "T4, 7,824",
        "T5, 7,824",
        "T1, 8,620",
    ]
    assert "claims_figure" in plots.__all__
