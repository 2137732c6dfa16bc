"""`mnist-s7 evaluate`: how trained networks do on the test images, as they are and corrupted."""

import argparse
from pathlib import Path

from torch import nn

from mnist_s7 import InvalidArgument
from mnist_s7.commands.options import (
    FIGURES,
    OWN,
    Command,
    Trained,
    add_digits,
    add_weights,
    digits_of,
    trained_networks,
)
from mnist_s7.data import Digits
from mnist_s7.experiments import FIRST_TO_LAST, SERIES
from mnist_s7.results import MNIST, PUBLISHED, PublishingRefused, prepare


def add(command: Command) -> None:
    parser = command(
        "evaluate",
        _evaluate,
        "test trained networks: accuracy with its interval, loss, each digit, calibration, and the images got wrong",
    )
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"{FIRST_TO_LAST}; default: the last. With --weights {OWN}"
    )
    add_weights(parser)
    add_digits(parser)
    parser.add_argument("--show", action="store_true", help="draw the images that it gets wrong, in runs/figures")
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="instead: accuracy on rotated, shifted, scaled, noisy, blurred, thicker and paler images, drawn too",
    )
    parser.add_argument(
        "--publish", action="store_true", help="with --robustness: measure the series' networks for the results"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    if arguments.publish:
        _publish(arguments)
        return
    networks = trained_networks(arguments.models, arguments.weights)
    digits = digits_of(arguments, networks)
    if arguments.robustness:
        _test_robustness(networks, digits)
    else:
        _test(networks, digits, arguments.show)


def _test(networks: list[Trained], digits: Digits, show: bool) -> None:
    from mnist_s7 import plots
    from mnist_s7.report.evaluation import evaluation_report
    from mnist_s7.training import predict

    for each in networks:
        log_probabilities = predict(each.model, digits.test_images)
        name = f"{each.facts['experiment']} (seed {each.facts['seed']})"
        print(f"{evaluation_report(name, log_probabilities, digits.test_labels, digits.name)}\n")
        if show:
            title = f"The test images that {name} gets most confidently wrong"
            figure = plots.confident_errors(
                digits.test_images, digits.test_labels, log_probabilities, title, dataset=digits.name
            )
            print(f"drawn as {plots.write_figure(figure, FIGURES / f'{each.name}-errors.png')}\n")


def _publish(arguments: argparse.Namespace) -> None:
    from mnist_s7.report.stored import ROBUSTNESS

    if not arguments.robustness:
        raise InvalidArgument("--publish stores what --robustness measures: say both")
    if arguments.models or arguments.weights:
        raise InvalidArgument("--publish is for the whole series: name no model and no weights")
    digits = digits_of(arguments)
    if digits.name != MNIST:
        raise PublishingRefused(f"only figures on MNIST are published, and these digits are {digits.name}")
    prepare(PUBLISHED, ROBUSTNESS.name)
    _test_robustness(trained_networks([experiment.name for experiment in SERIES], []), digits, ROBUSTNESS)


def _test_robustness(networks: list[Trained], digits: Digits, record: Path | None = None) -> None:
    from mnist_s7 import plots
    from mnist_s7.report.robustness import robustness_report
    from mnist_s7.robustness import measure_robustness

    by_name: dict[str, dict[int, nn.Module]] = {}
    for each in networks:
        by_name.setdefault(each.facts["experiment"], {})[int(each.facts["seed"])] = each.model
    found = measure_robustness(by_name, digits, on_corruption=lambda each: print(f"{each.name} ...", flush=True))
    print(f"\n{robustness_report(found)}\n")
    name = f"{'-'.join(by_name)}-robustness.png"
    print(f"drawn as {plots.write_figure(plots.robustness_figure(found), FIGURES / name)}")
    if record:
        found.save(record)
        print(f"saved as {record}")
