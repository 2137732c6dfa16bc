"""`mnist-s7 evaluate`: how a trained network does on the test images."""

import argparse

from mnist_s7.commands.options import FIGURES, OWN, Command, add_digits, add_weights, digits_of, trained_networks


def add(command: Command) -> None:
    parser = command(
        "evaluate",
        _evaluate,
        "test trained networks: accuracy with its interval, loss, each digit, calibration, and the images got wrong",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"T1 to T4; default: T4. With --weights {OWN}")
    add_weights(parser)
    add_digits(parser)
    parser.add_argument("--show", action="store_true", help="draw the images that it gets wrong, in runs/figures")


def _evaluate(arguments: argparse.Namespace) -> None:
    from mnist_s7 import plots
    from mnist_s7.report.evaluation import evaluation_report
    from mnist_s7.training import predict

    networks = trained_networks(arguments.models, arguments.weights)
    digits = digits_of(arguments, networks)
    for each in networks:
        log_probabilities = predict(each.model, digits.test_images)
        name = f"{each.facts['experiment']} (seed {each.facts['seed']})"
        print(f"{evaluation_report(name, log_probabilities, digits.test_labels, digits.name)}\n")
        if arguments.show:
            title = f"The test images that {name} gets most confidently wrong"
            figure = plots.confident_errors(
                digits.test_images, digits.test_labels, log_probabilities, title, dataset=digits.name
            )
            print(f"drawn as {plots.write_figure(figure, FIGURES / f'{each.name}-errors.png')}\n")
