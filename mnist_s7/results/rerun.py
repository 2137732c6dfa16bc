"""Whether a run that was repeated ended where the stored ones of its experiment did."""

import math

from mnist_s7 import MnistS7Error
from mnist_s7.results.folders import OPTIONS, stored_folder
from mnist_s7.results.run import Run, RunsMissing, load_runs
from mnist_s7.results.statistics import ENOUGH, prediction_interval, trained

# On another CPU the rounding differs, which is as good as another seed. So a run is compared with what one more seed is
# expected to give, at a confidence that a sound run seldom misses. Of an experiment with fewer than ENOUGH other seeds
# too little is known for that: then it may end this far from the stored run, in percentage points and nats.
CONFIDENCE = 0.999
DISTANCES = {"train_accuracy": 0.25, "test_accuracy": 0.5, "train_loss": 0.01}


class RunDiffers(MnistS7Error, AssertionError):
    """A repeated run ended elsewhere than the stored ones, by more than seeds and machines explain."""


def check_against_stored(run: Run) -> str:
    """How far the final epoch of `run` is from that of the stored run of its name, and what is allowed, as a
    Markdown list.

    Raises `RunDiffers` where it is outside of that, or where the learning rates were not the same, and `RunsMissing`
    where others of its experiment are stored and this one is not. Runs are stored on MNIST and on the synthetic digits.
    """
    folder = stored_folder(run.dataset)
    if folder is None:
        return f"{run.name}: trained on {run.dataset}, on which no runs are stored to compare it with"
    group = [each for each in load_runs(folder) if (each.experiment, each.dataset) == (run.experiment, run.dataset)]
    if not group:
        return f"{run.name}: no run of {run.experiment} is stored yet to compare it with"
    seeds = {each.seed: each for each in group}
    if run.seed not in seeds:
        option = OPTIONS.get(run.dataset, "")
        raise RunsMissing(
            f"{folder / run.name}.json: no such stored run; `mnist-s7 sweep {run.experiment}{option} "
            f"--seeds {run.seed} --output {folder}` makes and stores it"
        )
    stored = seeds[run.seed]
    if run.fingerprint != stored.fingerprint:
        raise RunDiffers(f"{run.name}: trained with another recipe than the stored run of that name")
    if len(run.epochs) != len(stored.epochs):
        raise RunDiffers(f"{run.name}: {len(run.epochs)} epochs, and the stored run has {len(stored.epochs)}")
    if not all(math.isclose(one.lr, other.lr) for one, other in zip(run.epochs, stored.epochs, strict=True)):
        raise RunDiffers(f"{run.name}: the epochs' learning rates are not those of the stored run")

    others = [each for each in trained(group) if each.seed != run.seed]  # not itself, where it has just been published
    known = len(others) >= ENOUGH
    why = f"{CONFIDENCE:.1%} prediction interval of the {len(others)} other seeds" if known else "few seeds are stored"
    found = [f"{run.name}, final epoch, and what is allowed ({why}):\n"]
    for name, distance in DISTANCES.items():
        value, before = getattr(run.final, name), getattr(stored.final, name)
        low, high = before - distance, before + distance
        if known:
            low, high = prediction_interval([getattr(each.final, name) for each in others], CONFIDENCE)
        unit = "nats" if name.endswith("loss") else "%"
        found.append(
            f"- {name.replace('_', ' ')} {value:.3f} {unit}, {value - before:+.3f} from the stored run; "
            f"allowed: {low:.3f} to {high:.3f}"
        )
        if not low <= value <= high:  # a NaN is outside as well
            raise RunDiffers("\n".join(found))
    return "\n".join(found)
