"""How a trained network does on labelled images: its accuracy, each digit, its calibration, and what it gets wrong."""

import torch
from torch import Tensor

from mnist_s7.report.markdown import Markdown, between, table
from mnist_s7.results import MNIST, calibration_error, class_names, class_noun, wilson
from mnist_s7.training import evaluation


def evaluation_report(name: str, log_probabilities: Tensor, labels: Tensor, dataset: str = MNIST) -> Markdown:
    """Tables about the (N, 10) `log_probabilities` that the network `name` gives for the images with int64 (N,)
    `labels`: of all of them, of each digit or class, and of every image that it gets wrong."""
    found = evaluation(log_probabilities, labels)
    n, wrong = len(labels), len(found.errors)
    probabilities, predicted = log_probabilities.exp().max(1)
    calibration = calibration_error(probabilities, predicted == labels)
    header = ("images", "wrong", "accuracy (%)", "95 % CI (Wilson)", "mean loss (nats)", "calibration error (pp)")
    figures = (f"{n:,}", wrong, f"{found.accuracy:.2f}", between(wilson(n - wrong, n)), f"{found.loss:.4f}")
    parts = [  # what matters most comes last, where a terminal stops
        _errors(probabilities, found.errors, labels, dataset),
        _per_class(predicted, labels, dataset),
        f"{name} on the test images of {dataset}:",
        table(header, [(*figures, f"{100 * calibration:.2f}")]),
        "The confidence interval (CI) is for the choice of these test images alone, not for another training run. The "
        "loss is the mean negative log-likelihood. The calibration error is the expected one (ECE, 15 bins), in "
        "percentage points: how far the probability of the predicted digit is, on average, from the share of images "
        "for which it is right.",
    ]
    return Markdown("\n\n".join(parts))


def _per_class(predicted: Tensor, labels: Tensor, dataset: str) -> Markdown:
    rows, names, noun = [], class_names(dataset), class_noun(dataset)
    for digit in labels.unique().tolist():
        ones = labels == digit
        right, n = int((predicted[ones] == digit).sum()), int(ones.sum())
        taken = int((predicted == digit).sum()) - right
        rows.append((names[digit], f"{n:,}", n - right, f"{100 * right / n:.2f}", between(wilson(right, n)), taken))
    others = f"of other {'digits' if noun == 'digit' else 'classes'}, taken for it"
    header = (noun, "images", "wrong", "accuracy (%)", "95 % CI (Wilson)", others)
    return table(header, rows)


def _errors(probabilities: Tensor, errors: list[tuple[int, int]], labels: Tensor, dataset: str) -> Markdown:
    """Every image that is got wrong, those that the network is surest of first."""
    if not errors:
        return Markdown("It gets no image wrong.")
    order = torch.argsort(probabilities[[index for index, _ in errors]], descending=True, stable=True)
    names = class_names(dataset)
    rows = (
        (index, names[labels[index]], names[digit], f"{100 * float(probabilities[index]):.1f}")
        for index, digit in (errors[place] for place in order.tolist())
    )
    return table(("image", "label", "predicted", "probability (%)"), rows)
