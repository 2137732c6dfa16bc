"""What is said of accuracies on corrupted images is what they are."""

from mnist_s7.report.robustness import how_robust, mean_accuracy, most_robust, robustness_table, withstood
from mnist_s7.robustness import Curve, Robustness

MACHINE = {"device": "a CPU", "system": "a system", "python": "3", "torch": "2"}
ROTATION = Curve(
    *("degrees", [-20, -10, 0, 10, 20], 0),
    {"T1": [[95.0, 94.0, 98.0, 96.0, 95.0]], "T2": [[99.2, 99.0, 99.5, 98.9, 99.4]]},
)
BLUR = Curve("pixels", [0, 1, 2], 0, {"T1": [[98.0, 97.0, 80.0]], "T2": [[99.5, 96.4, 79.5]]})
RECORD = Robustness(MACHINE, "MNIST", 10_000, {"T1": [1], "T2": [1]}, {"rotation": ROTATION, "blur": BLUR})


def cells(markdown):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]


def test_strengths_are_withstood_without_a_break():
    """From the image as it is, outwards: what is reached again beyond a worse strength does not count."""
    assert withstood(ROTATION, "T1", 95) == (0, 20)
    assert withstood(ROTATION, "T2", 99) == (-20, 0)
    assert withstood(ROTATION, "T1", 99) is None
    assert withstood(BLUR, "T2", 95) == (0, 1)


def test_seeds_count_by_their_mean():
    curve = Curve("pixels", [0, 1], 0, {"T1": [[99.0, 97.0], [99.0, 94.0]]})

    assert mean_accuracy(curve, "T1") == (99 + 95.5) / 2
    assert withstood(curve, "T1", 95) == (0, 1)


def test_each_network_has_a_column():
    header, _, *rows = cells(robustness_table(RECORD))

    assert header == ["corruption", "measured", "", "T1", "T2"]
    assert rows == [
        ["rotation (degrees)", "-20 to 20", "mean accuracy (%)", "95.60", "99.20"],
        ["", "", "at least 99 %", "nowhere", "-20 to 0"],
        ["", "", "at least 95 %", "0 to 20", "-20 to 20"],
        ["blur (pixels)", "0 to 2", "mean accuracy (%)", "91.67", "91.80"],
        ["", "", "at least 99 %", "nowhere", "0 alone"],
        ["", "", "at least 95 %", "0 to 1", "0 to 1"],
    ]


def test_a_lead_is_said_where_the_test_images_do_not_explain_it():
    """Of 10,000 images, 0.13 of a percentage point at 92 % is chance; of a hundred times as many it is not."""
    said = most_robust(RECORD)

    assert "T1 99 % at no angle and 95 % from 0° to 20°; T2 99 % from -20° to 0° and 95 % from -20° to 20°." in said
    assert "T2 for rotation; none for blur." in said
    assert "the networks are ranked here and not the recipes" in said
    many = Robustness(MACHINE, "MNIST", 1_000_000, RECORD.seeds, RECORD.curves)
    assert "T2 for rotation and blur." in most_robust(many)


def test_seeds_and_a_single_network_change_what_is_said():
    one = Curve("degrees", [0, 10], 0, {"T1": [[99.0, 97.0], [99.0, 96.0]]})
    record = Robustness(MACHINE, "MNIST", 10_000, {"T1": [1, 2]}, {"rotation": one})

    assert most_robust(record).startswith("Rotated") and "highest" not in most_robust(record)
    assert "one trained network" not in most_robust(record)
    assert "T1: seeds 1, 2" in how_robust(record)


def test_it_is_said_how_they_were_measured():
    text = how_robust(RECORD)

    assert "10,000 test images of MNIST" in text and "T1: seed 1; T2: seed 1" in text
    assert all(value in text for value in MACHINE.values())
