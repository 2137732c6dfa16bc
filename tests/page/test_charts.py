"""The panels with charts, used as a reader uses them."""

import dataclasses
import re
from statistics import mean

import pytest
from axe_playwright_python.sync_playwright import Axe
from test_page import HOSTILE

from mnist_s7.page import measured
from mnist_s7.page.measured import pairs_data
from mnist_s7.results import LABEL_ERRORS, compare

MEASURES = ("test accuracy", "training accuracy", "test loss", "training loss", "learning rate")


def numbers(page, panel: str) -> list[list[str]]:
    """The table behind a panel's chart."""
    rows = page.locator(f"#{panel} .chart-table table tr").all()
    return [row.locator("th, td").all_text_contents() for row in rows]


def drawn(page, panel: str, change) -> None:
    """Waits until a change has drawn the panel's chart again."""
    chart = page.locator(f"#{panel} .chart")
    before = int(chart.get_attribute("data-drawn"))
    change()
    page.wait_for_function(
        "([panel, before]) => +document.querySelector(`#${panel} .chart`).dataset.drawn > before", arg=[panel, before]
    )


def point_at_the_middle(page):
    """What is told beside a pointer that is in the middle of the curves."""
    chart = page.locator("#curves .chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    for step in (0, 1):  # over the chart, and then on it
        page.mouse.move(box["x"] + box["width"] / 2 + step, box["y"] + box["height"] / 2)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    return tooltip


def test_curves_show_the_mean_and_range_of_the_seeds(open_whole, runs):
    page = open_whole()

    heads, *rows = numbers(page, "curves")
    assert heads == ["epoch", *(f"{name} (%)" for name in runs)]
    accuracies = [[run.epochs[epoch].test_accuracy for run in runs["T3"]] for epoch in range(15)]
    for (epoch, _, _, told, *_), found in zip(rows, accuracies, strict=True):
        assert told == f"{mean(found):.2f} ({min(found):.2f} to {max(found):.2f})", epoch


def test_every_measure_and_seed_can_be_chosen(open_whole, runs):
    page = open_whole()
    fields = ("test_accuracy", "train_accuracy", "test_loss", "train_loss", "lr")

    for name in ("T1", "T2", "T4", "T5"):
        drawn(page, "curves", lambda name=name: page.get_by_label(name, exact=True).uncheck())
    drawn(page, "curves", lambda: page.get_by_label("Seeds", exact=True).select_option(label="seed 2"))
    for measure, field in zip(MEASURES, fields, strict=True):
        if measure != MEASURES[0]:
            drawn(
                page,
                "curves",
                lambda measure=measure: page.get_by_label("Measure", exact=True).select_option(label=measure),
            )
        heads, *rows = numbers(page, "curves")
        assert [re.sub(" \\(.*", "", head) for head in heads] == ["epoch", "T3, seed 2"]
        for (_, told), epoch in zip(rows, runs["T3"][1].epochs, strict=True):
            assert float(told) == pytest.approx(getattr(epoch, field), abs=0.006 if "accuracy" in field else 6e-5)
        assert measure in page.locator("#curves .chart svg").text_content()

    drawn(page, "curves", lambda: page.get_by_label("Seeds", exact=True).select_option(label="every seed"))
    assert len(numbers(page, "curves")[0]) == 1 + len(runs["T3"])


def test_nothing_chosen_is_an_empty_chart(open_whole):
    page = open_whole()

    for name in ("T1", "T2", "T3", "T4", "T5"):
        drawn(page, "curves", lambda name=name: page.get_by_label(name, exact=True).uncheck())
    assert numbers(page, "curves") == [["epoch"]]


def test_the_values_under_the_pointer(open_whole, runs):
    page = open_whole()
    tooltip = point_at_the_middle(page)
    shown = tooltip.inner_text()
    epoch = int(re.search(r"epoch:?\s*(\d+)", shown)[1])
    for name, group in runs.items():
        found = [run.epochs[epoch].test_accuracy for run in group]
        assert re.search(rf"{name}:?\s*{mean(found):.2f} \({min(found):.2f} to {max(found):.2f}\) %", shown)


def test_two_are_compared_as_in_python(open_whole, runs, mnist):
    page = open_whole(digits=mnist)
    finding = page.locator(".finding")
    pairs = {tuple(found["pair"]): found for found in pairs_data(runs)}
    expected = compare(runs["T3"], runs["T1"], paired=False)

    drawn(page, "compare", lambda: page.get_by_label("Compare", exact=True).select_option("T3"))
    drawn(page, "compare", lambda: page.get_by_label("with", exact=True).select_option("T1"))
    low, high = expected.interval
    assert f"T3 minus T1: +{expected.mean:.3f} percentage points" in finding.inner_text()
    assert f"(95 % CI +{low:.3f} to +{high:.3f})" in finding.inner_text()
    adjusted = f"(adjusted for all {len(pairs)} pairs on this page, Holm: p "
    assert f"10 and 10 runs; p < 0.001 {adjusted}< 0.001)" in finding.inner_text()
    assert finding.inner_text().endswith("T3 is higher than T1.")
    drawn(page, "compare", lambda: page.get_by_label("Compare", exact=True).select_option("T2"))
    drawn(page, "compare", lambda: page.get_by_label("with", exact=True).select_option("T3"))
    assert f"p = {pairs['T2', 'T3']['alone']:.3f} (adjusted for all {len(pairs)} pairs" in finding.inner_text()
    assert f"Holm: p = {pairs['T2', 'T3']['p']:.3f})" in finding.inner_text()
    assert finding.inner_text().endswith("Inconclusive.")
    assert len(numbers(page, "compare")) == 1 + 20
    drawn(page, "compare", lambda: page.get_by_label("Compare", exact=True).select_option("T3"))
    assert finding.inner_text() == "Choose two different experiments."
    assert page.locator(".digits li").count() == 0


def test_the_digits_that_divide_two(open_whole, runs, mnist):
    page = open_whole(digits=mnist)
    lists = page.locator(".divided section")
    wrong = {name: [dict(run.errors) for run in runs[name]] for name in ("T4", "T5")}

    def share(name, index):
        return sum(index in errors for errors in wrong[name]) / len(wrong[name])

    for section, (better, worse) in zip(lists.all(), (("T5", "T4"), ("T4", "T5")), strict=True):
        indices = {index for errors in wrong[worse] for index in errors}
        divided = {index for index in indices if share(worse, index) > share(better, index)}
        assert section.locator("li").count() == 12
        section.get_by_role("button", name=f"Show all {len(divided)}").click()
        cards = section.locator("li").all_inner_texts()
        shown = [int(re.search(r"no\. (\d+)", card)[1]) for card in cards]
        assert set(shown) == divided
        by = [share(worse, index) - share(better, index) for index in shown]
        assert by == sorted(by, reverse=True)
        for index, card in zip(shown, cards, strict=True):
            assert f"label {mnist.test_labels[index]}" in card
            assert f"{worse} wrong in {sum(index in e for e in wrong[worse])} of {len(wrong[worse])}: says" in card
            assert ("label disputed" in card or "wrong label" in card) == (index in LABEL_ERRORS)


def test_a_digit_is_the_test_image(open_whole, mnist):
    page = open_whole(digits=mnist)
    card = page.locator(".digits li").first
    index = int(re.search(r"no\. (\d+)", card.inner_text())[1])

    page.wait_for_timeout(300)
    greys = card.locator("canvas").evaluate(
        "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0)"
    )
    assert greys == mnist.test_images[index].flatten().tolist()


def test_without_the_test_images_the_rest_is_told(open_whole):
    page = open_whole()

    assert page.locator(".digits canvas").count() == 0
    assert re.match(r"no\. \d+\nT5 wrong in", page.locator(".digits li").first.inner_text())
    assert "not found where this page was made" in page.locator("#compare").inner_text()


def test_accuracy_against_parameters_has_the_public_networks(open_whole, runs, monkeypatch):
    monkeypatch.setattr(measured, "baseline_runs", lambda: {})  # so that each is there as stated
    page = open_whole()

    rows = {row[0]: row[1:] for row in numbers(page, "parameters")}
    assert rows["JoshWarn/Parameter-Efficient-MNIST"] == ["997", "98.76 ± 0.105", "mean of 223 runs"]
    assert rows["T4"][0] == "7,824"
    assert rows["T4"][2] == f"mean of {len(runs['T4'])} runs, final epoch"
    for name in (*runs, "limit 8,000"):
        assert name in page.locator("#parameters .chart svg").text_content()


def test_a_hostile_name_is_text_in_the_charts_too(open_whole, runs):
    page = open_whole({HOSTILE: [dataclasses.replace(run, experiment=HOSTILE) for run in runs["T3"]], "T4": runs["T4"]})

    assert HOSTILE in point_at_the_middle(page).inner_text()
    assert page.locator("#vg-tooltip-element img").count() == 0
    assert page.locator(".finding").inner_text().startswith(f"T4 minus \u2068{HOSTILE}\u2069: +")


def test_one_run_and_a_loss_without_end(open_whole, runs):
    [run] = runs["T3"][:1]
    epochs = [dataclasses.replace(run.epochs[0], test_loss=float("inf")), *run.epochs[1:]]
    page = open_whole({"mine": [dataclasses.replace(run, experiment="mine", epochs=epochs)], "T4": runs["T4"][:1]})

    drawn(page, "curves", lambda: page.get_by_label("Measure", exact=True).select_option(label="test loss"))
    assert numbers(page, "curves")[1][1:].count("–") == 1
    assert "a test needs two runs or more" in page.locator(".finding").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 380])
def test_axe_finds_nothing(open_whole, mnist, scheme, width):
    page = open_whole(digits=mnist, color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)

    found = Axe().run(page).response["violations"]
    assert not [(each["id"], each["impact"], [node["html"][:200] for node in each["nodes"]]) for each in found]


def test_the_charts_follow_light_and_dark(open_whole):
    page = open_whole(color_scheme="light")
    label = page.locator("#curves .chart svg text").first
    light = label.get_attribute("fill")

    drawn(page, "curves", lambda: page.emulate_media(color_scheme="dark"))
    assert label.get_attribute("fill") != light


def test_nothing_jumps_while_the_page_appears(open_whole):
    page = open_whole(viewport={"width": 1200, "height": 900})

    shift = page.evaluate(
        """new Promise((resolve) => {
          let total = 0;
          new PerformanceObserver((list) => list.getEntries().forEach((entry) => { total += entry.value; }))
            .observe({ type: "layout-shift", buffered: true });
          setTimeout(() => resolve(total), 300);
        })"""
    )
    assert shift < 0.01


def test_the_boxes_are_cleared_at_once(open_whole):
    page = open_whole()

    drawn(page, "curves", lambda: page.get_by_role("button", name="None").click())
    assert numbers(page, "curves") == [["epoch"]]
    assert "tick an experiment" in page.locator("#curves figcaption").inner_text()


def test_a_loss_to_soft_targets_is_said(open_whole):
    page = open_whole()
    said = "That of T5 is to soft targets, and not to be compared."

    drawn(page, "curves", lambda: page.get_by_label("Measure", exact=True).select_option(label="training loss"))
    assert said in page.locator("#curves figcaption").inner_text()
    drawn(page, "curves", lambda: page.locator("#curves").get_by_label("T5", exact=True).uncheck())
    assert said not in page.locator("#curves figcaption").inner_text()


def test_seeds_that_are_not_there_are_named(open_whole):
    page = open_whole()

    drawn(page, "curves", lambda: page.get_by_label("Seeds", exact=True).select_option(label="seed 12"))
    assert "No seed 12 that trained: T1, T2, T3." in page.locator("#curves figcaption").inner_text()


def test_a_finger_sees_the_values_that_it_presses_on(open_whole):
    page = open_whole(viewport={"width": 380, "height": 800}, has_touch=True, is_mobile=True)
    chart = page.locator("#curves .chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()

    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    pressed = page.locator("#curves .pressed")
    page.wait_for_function("document.querySelector('#curves .pressed').textContent")
    assert re.match(r"epoch \d+; T1 9[78]\.\d\d \(", pressed.inner_text())


def test_names_that_javascript_and_other_scripts_know(open_whole, runs):
    names = ("__proto__", "constructor", "שלום")
    page = open_whole(
        {name: [dataclasses.replace(run, experiment=name) for run in runs["T3"]] for name in names} | {"T4": runs["T4"]}
    )

    for name in names:
        drawn(page, "compare", lambda n=name: page.get_by_label("with", exact=True).select_option(index=names.index(n)))
        assert name in page.locator(".finding").inner_text()
        assert name in page.locator("#compare .chart svg").text_content()
    for name in (*names, "T4"):
        assert name in point_at_the_middle(page).inner_text()


def test_low_accuracies_have_ticks_too(open_whole, runs):
    poor = []
    for run, accuracy in zip(runs["T1"][:2], (31.0, 33.5), strict=True):
        last = dataclasses.replace(run.epochs[-1], test_accuracy=accuracy)
        poor.append(dataclasses.replace(run, experiment="poor", epochs=[last]))
    page = open_whole({"poor": poor, "other": [dataclasses.replace(run, experiment="other") for run in poor]})

    ticks = page.locator("#compare .chart svg text").all_text_contents()
    assert sum(tick.isdecimal() for tick in ticks) >= 4
    assert page.locator("#curves .chart svg").text_content().startswith("0epoch")
