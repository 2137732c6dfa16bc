"""How robust the networks are to corrupted test images: a Markdown table, sentences, and how it was measured."""

import math

from mnist_s7.report.markdown import Markdown, table
from mnist_s7.report.stored import ROBUSTNESS
from mnist_s7.robustness import Curve, Robustness

LEVELS = (99, 95)  # percent of test images


def stored_robustness() -> Robustness:
    """That of the series. Raises `RobustnessFileError` where it is not stored."""
    return Robustness.load(ROBUSTNESS)


def robustness_report(record: Robustness) -> Markdown:
    """All that is said of it: in sentences, as a table, and how it was measured."""
    return Markdown(f"{most_robust(record)}\n\n{robustness_table(record)}\n\n{how_robust(record)}")


def robustness_table(record: Robustness) -> Markdown:
    """Of each corruption and network the mean accuracy over the strengths, and which of these leave `LEVELS`."""
    rows = []
    for name, curve in record.curves.items():
        strengths = f"{name} ({curve.unit})"
        means = [f"{mean_accuracy(curve, network):.2f}" for network in record.seeds]
        rows.append((strengths, _range(curve.strengths[0], curve.strengths[-1]), "mean accuracy (%)", *means))
        for level in LEVELS:
            found = (withstood(curve, network, level) for network in record.seeds)
            cells = ["nowhere" if ends is None else _range(*ends) for ends in found]
            rows.append(("", "", f"at least {level} %", *cells))
    return table(("corruption", "measured", "", *record.seeds), rows)


def withstood(curve: Curve, network: str, level: float) -> tuple[float, float] | None:
    """The lowest and the highest strength around the neutral one up to which the network has an accuracy of at least
    `level` percent without a break; None where it has less even on images as they are."""
    above = [accuracy >= level for accuracy in curve.mean(network)]
    low = high = curve.strengths.index(curve.neutral)
    if not above[low]:
        return None
    while low > 0 and above[low - 1]:
        low -= 1
    while high < len(above) - 1 and above[high + 1]:
        high += 1
    return curve.strengths[low], curve.strengths[high]


def mean_accuracy(curve: Curve, network: str) -> float:
    """Percent: the mean over the strengths, of which all count alike."""
    return sum(curve.mean(network)) / len(curve.strengths)


def most_robust(record: Robustness) -> Markdown:
    """In sentences: at which angles the networks fall below `LEVELS`, and which is the most robust to what."""
    sentences = [_angles(record.curves["rotation"], record)] if "rotation" in record.curves else []
    if len(record.seeds) > 1:
        leaders = {name: _leader(curve, record) for name, curve in record.curves.items()}
        leads = [
            f"{network} for {_listed([name for name, leader in leaders.items() if leader == network])}"
            for network in record.seeds
            if network in leaders.values()
        ]
        open_ones = [name for name, leader in leaders.items() if leader is None]
        said = "; ".join(leads + ([f"none for {_listed(open_ones)}"] if open_ones else []))
        sentences.append(
            f"The network with the highest mean accuracy, by more than the choice of test images explains: {said}."
        )
    counts = {len(seeds) for seeds in record.seeds.values()}
    if counts == {1}:
        sentences.append(
            "This is one trained network of each: another seed of the same recipe can be more or less robust, so that "
            "the networks are ranked here and not the recipes."
        )
    return Markdown(" ".join(sentences))


def how_robust(record: Robustness) -> str:
    """What the figures of `robustness_table` are, and on which machine they were measured."""
    machine = record.environment
    seeds = "; ".join(
        f"{name}: seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        for name, seeds in record.seeds.items()
    )
    return (
        f"{machine['device']}, {machine['system']}, Python {machine['python']}, torch {machine['torch']}; "
        f"{record.test_images:,} test images of {record.dataset}, all corrupted alike ({seeds}). The mean accuracy is "
        "that over the measured strengths, the intact images among them. *At least 99 %* names the strengths around "
        "the intact images up to which every measured one leaves that; where it is an end of what was measured, more "
        "may do. Rotation, shift and scale are bilinear, about the centre, and what leaves the frame is lost. Noise is "
        "added to each pixel and cut off at black and white; blur is a convolution with a Gaussian. Strokes are made "
        "wider by a grey-scale dilation with a square, and narrower by an erosion. Contrast moves each pixel towards "
        "its image's mean. A lead is more than the choice of test images explains where it is more than 1.96 standard "
        "errors of a difference of two accuracies on as many images each, which is careful: they are the same images."
    )


def _angles(curve: Curve, record: Robustness) -> str:
    def of(network: str) -> str:
        parts = []
        for level in LEVELS:
            ends = withstood(curve, network, level)
            parts.append(f"{level} % at no angle" if ends is None else f"{level} % from {ends[0]:g}° to {ends[1]:g}°")
        return f"{network} {' and '.join(parts)}"

    return f"Rotated (counter-clockwise where positive), the networks keep: {'; '.join(map(of, record.seeds))}."


def _leader(curve: Curve, record: Robustness) -> str | None:
    """The network with the highest mean accuracy; None where the lead on the second may be the test images' choice.

    The standard error of a mean over strengths is not above that of one accuracy of the same height: the images are the
    same at every strength, and sqrt(p (1 - p)) is concave.
    """
    (first, best), (second, _), *_ = sorted(
        ((mean_accuracy(curve, network), network) for network in record.seeds), reverse=True
    )
    variance = sum(accuracy * (100 - accuracy) for accuracy in (first, second)) / record.test_images
    return best if first - second > 1.96 * math.sqrt(variance) else None


def _range(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if low < high else f"{low:g} alone"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
