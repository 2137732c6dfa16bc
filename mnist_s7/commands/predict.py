"""`mnist-s7 predict`: which digit a picture shows."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace

from mnist_s7.commands.options import FIGURES, OWN, Command, add_weights, trained_networks
from mnist_s7.experiments import FIRST_TO_LAST
from mnist_s7.images import ImageError, Prediction, image_files, predict_image, read_image
from mnist_s7.images.reading import Source

FIGURE = FIGURES / "predict.png"
SHOWN = 12  # pictures in one figure


def add(command: Command) -> None:
    parser = command("predict", _predict, "classify the digit in each picture: a scan, a drawing, a photo of paper")
    parser.add_argument("files", nargs="+", metavar="FILE", help="pictures, folders of them, or - for standard input")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        help=f"{FIRST_TO_LAST}; again for one more; default: the last. With --weights {OWN}",
    )
    add_weights(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object for each picture and network, in a line")
    parser.add_argument("--show", action="store_true", help="draw what the networks saw, in runs/figures/predict.png")


def _predict(arguments: argparse.Namespace) -> int:
    networks = trained_networks(arguments.model, arguments.weights)
    failed, drawn = 0, []
    for file, source in _sources(arguments.files):
        try:
            picture = read_image(source)
            found = {each.name: predict_image(each.model, picture) for each in networks}
        except ImageError as error:
            failed += 1
            if arguments.json:
                print(json.dumps({"file": file, "error": str(error)}))
            else:
                print(f"mnist-s7 predict: {error}", file=sys.stderr)
            continue
        for network, prediction in found.items():
            prediction = replace(prediction, name=f"{file}, {network}" if len(found) > 1 else file)
            print(_as_json(file, network, prediction) if arguments.json else prediction)
            drawn.append((picture, prediction))
    if arguments.show and drawn:
        from mnist_s7 import plots

        left = f", the first {SHOWN} of {len(drawn)}" if len(drawn) > SHOWN else ""
        print(f"drawn as {plots.write_figure(plots.predictions(drawn[:SHOWN]), FIGURE)}{left}", file=sys.stderr)
    return 1 if failed else 0


def _sources(files: list[str]) -> Iterator[tuple[str, Source]]:
    """Each picture's name and where it is read from."""
    for file in files:
        if file == "-":
            yield file, sys.stdin.buffer
        else:
            yield from ((str(path), path) for path in image_files([file]))


def _as_json(file: str, network: str, prediction: Prediction) -> str:
    return json.dumps(
        {
            "file": file,
            "network": network,
            "digit": prediction.digit,
            "class": prediction.classes[prediction.digit],
            "probability": prediction.probability,
            "runner_up": prediction.runner_up,
            "runner_up_probability": prediction.runner_up_probability,
            "probabilities": list(prediction.probabilities),
        }
    )
