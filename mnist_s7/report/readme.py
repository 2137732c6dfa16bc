"""The README's generated parts: made from the published runs, put between markers, and checked there."""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from mnist_s7 import InvalidArgument
from mnist_s7.bench import Benchmark
from mnist_s7.catalog import narrower
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.report.across_seeds import replicated
from mnist_s7.report.benchmark import costs
from mnist_s7.report.iteration import seconds_per_epoch
from mnist_s7.report.markdown import Markdown, mean_sd, table
from mnist_s7.report.published_networks import checked_claims, place
from mnist_s7.report.selection import selection_summary
from mnist_s7.report.stored import SEED, baseline_runs, published_teachers, stored_runs
from mnist_s7.results import Run, Runs, failures, summarize, trained
from mnist_s7.robustness import Robustness

FEW = 5  # claims with runs: of fewer, the README does not speak
CLAIMS_HEADING = "published-networks-trained-again"  # on the results page


def readme_parts(benchmarks: Sequence[Benchmark]) -> dict[str, str]:
    """The README's generated parts, by the name in their markers."""
    runs, baselines = stored_runs(), baseline_runs()
    shown = {experiment.name: _shown(experiment, runs) for experiment in SERIES}
    return {
        "results": str(_results(runs)),
        "published": published_networks(runs, baselines),
        "time": _time(shown),
        "speed": "\n\n".join(map(_speed, benchmarks)),
        **{experiment.name: _iteration(experiment, runs) for experiment in SERIES},
    }


def fill(text: str, parts: dict[str, str]) -> str:
    """`text` with each of `parts` between its markers, `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises `InvalidArgument` where markers and parts do not belong together.
    """
    markers = re.findall(r"^<!-- begin (\w+) -->$", text, re.M)
    if sorted(markers) != sorted(parts):
        raise InvalidArgument(f"the text has markers for {sorted(markers)}, and the parts are {sorted(parts)}")
    for name, part in parts.items():
        pattern = rf"(^<!-- begin {name} -->\n).*?(^<!-- end {name} -->$)"
        text, count = re.subn(
            pattern, lambda match, part=part: f"{match[1]}{_apart(part)}{match[2]}", text, flags=re.S | re.M
        )
        if count != 1:
            raise InvalidArgument(f"<!-- begin {name} --> has no <!-- end {name} --> after it")
    return text


def _apart(part: str) -> str:
    """Between empty lines, which Markdown needs beside a table; nothing stays nothing."""
    return f"\n{part.strip()}\n\n" if part.strip() else ""


def published_networks(runs: Runs, baselines: Runs) -> str:
    """A list on the networks of others; nothing before `FEW` of their claims have runs."""
    claims = checked_claims(baselines)
    if len(claims) < FEW:
        return ""
    verdicts = Counter(claim.verdict for claim in claims)
    said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common())
    optimistic = [claim.optimistic_by for claim in claims if claim.optimistic_by is not None]
    if optimistic:
        said += (
            f"; {len(optimistic)} of them, of any verdict, are optimistic, by {min(optimistic):.2f} to "
            f"{max(optimistic):.2f} pp, as a best epoch on the test set or a best run is, which is common practice"
        )
    return (
        f"- **Is one better?** {place(runs, baselines)}\n"
        f"- **Are their accuracies reproduced?** Of the {len(claims)} that authors state, of networks with up to "
        f"{max(claim.parameters for claim in claims):,} parameters: {said}.\n"
        f"- **What does selection add?** {selection_summary({**runs, **baselines})}\n\n"
        f"[All claims beside our runs](notebooks/results/README.md#{CLAIMS_HEADING}), with their sources and the rule "
        "of the verdicts, are on the results page; pp are percentage points."
    )


def digest(shown: Runs | Benchmark | Robustness | Sequence) -> str:
    """Changes whenever a figure that is shown does: stored in an image file, it says what the image shows."""
    if isinstance(shown, Mapping):
        runs = [run for name in sorted(shown) for run in shown[name]]
        shown = [(run.experiment, run.dataset, run.parameters, run.epochs) for run in runs]
    return hashlib.sha256(repr(shown).encode()).hexdigest()


def _shown(experiment: Experiment, runs: Runs) -> Run:
    """The run that the iteration's notebook shows."""
    return next(run for run in runs[experiment.name] if run.seed == SEED)


def _results(runs: Runs) -> Markdown:
    def row(experiment: Experiment) -> tuple[str, ...]:
        group = runs[experiment.name]
        final = summarize([run.final.test_accuracy for run in trained(group)])
        return (
            experiment.name,
            experiment.title,
            f"{experiment.parameters:,}",
            f"**{mean_sd(final.mean, final.sd)}**",
            f"{final.n}{failures(group)}",
            f"[notebook](notebooks/MNIST_S7_{experiment.name}.ipynb)",
        )

    header = ("iteration", "its one idea", "parameters", "test accuracy (%), mean ± SD", "seeds", "link")
    return table(header, map(row, SERIES))


def _time(shown: dict[str, Run]) -> str:
    minutes = {name: sum(epoch.seconds for epoch in run.epochs) / 60 for name, run in shown.items()}
    machine = shown[SERIES[0].name].environment
    taught = " and ".join(experiment.name for experiment in SERIES if experiment.distillation)
    return (
        f"Training one iteration took {min(minutes.values()):.0f} to {max(minutes.values()):.0f} minutes on one core "
        f"({machine['device']}, torch {machine['torch'].partition('+')[0]}); all {len(minutes)} take about "
        f"{sum(minutes.values()) / 2 + 1:.0f} minutes on two cores, after the soft targets of {taught} (what its "
        "teachers predict), which are made once and take some minutes more. `make test`, which tests the rest too, "
        "takes longer. A slow laptop takes several times as long."
    )


def _speed(benchmark: Benchmark) -> str:
    """The seconds, and how they were measured."""
    return (
        f"{costs(benchmark)}\n\nMedians of {benchmark.rounds} interleaved rounds on {benchmark.cores} cores of "
        f"{benchmark.processor}, torch {benchmark.environment['torch'].partition('+')[0]}, float32 "
        "(PyTorch's convolutions alone in the faster of float32 and bfloat16); an epoch is 60,000 training and 10,000 "
        "test images."
    )


def _iteration(experiment: Experiment, runs: Runs) -> str:
    """Some lines: the change, how it is trained, the result, and what was reached and what was not."""
    name, group = experiment.name, runs[experiment.name]
    final = summarize([run.final.test_accuracy for run in trained(group)])
    verdicts = {claim: words for claim, (_, words) in replicated(experiment, runs).items()}
    reached = {claim.text: verdicts[claim] for claim in experiment.targets}
    claimed = {claim.text: verdicts[claim] for claim in experiment.claims}
    lines = [
        f"- **Change:** {experiment.change}.",
        f"- **Training:** {experiment.recipe}.",
        f"- **Result:** {mean_sd(final.mean, final.sd)} % test accuracy in the final epoch (mean ± SD, {final.n} "
        f"seeds{failures(group)}), {experiment.parameters:,} parameters; seed {SEED} took "
        f"{seconds_per_epoch(_shown(experiment, runs)):.0f} s per epoch on one core.",
        *_narrower(experiment, runs),
        *([f"- **Teachers:** {_teachers(experiment)}"] if experiment.distillation else []),
        f"- **[Targets](notebooks/results/README.md#{name.lower()}):** {_by_verdict(reached)}.",
    ]
    if claimed:
        lines.append(f"- **Claims of the reference series, in our words:** {_by_verdict(claimed)}.")
    else:
        lines.append(f"- **Claims of the reference series:** none, since {name} is this project's own.")
    return "\n".join(lines)


def _narrower(experiment: Experiment, runs: Runs) -> list[str]:
    """A line on what the iteration's networks of fewer channels reach; none where no runs of them are stored."""
    said = []
    for variant in narrower(experiment):
        if group := trained(runs.get(variant.name, ())):
            final = summarize([run.final.test_accuracy for run in group])
            said.append(f"{mean_sd(final.mean, final.sd)} % with {variant.parameters:,} ({final.n} seeds)")
    return [f"- **With fewer parameters:** {', '.join(said)}."] if said else []


def _teachers(experiment: Experiment) -> str:
    """Who teaches the iteration, and at what cost."""
    runs = published_teachers(experiment)
    final = summarize([run.final.test_accuracy for run in runs])
    minutes = median(sum(epoch.seconds for epoch in run.epochs) / 60 for run in runs)
    return (
        f"{final.n} networks of {runs[0].parameters:,} parameters, trained on labels in {len(runs[0].epochs)} epochs; "
        f"final test accuracy {mean_sd(final.mean, final.sd)} %; to train one took {minutes:.0f} minutes (median). "
        "They are needed for training alone."
    )


def _by_verdict(verdicts: dict[str, str]) -> str:
    """`2 of 4 met, 1 not met (...), 1 inconclusive (...)`: what did not come out is named."""
    plural = {"holds": "hold", "does not hold": "do not hold"}
    parts = []
    for words in dict.fromkeys(verdicts.values()):
        texts = [text for text, each in verdicts.items() if each == words]
        total = "" if parts else f" of {len(verdicts)}"
        named = "" if words in ("met", "holds", "consistent with it") else f" ({'; '.join(texts)})"
        said = plural.get(words, words) if len(texts) > 1 else words
        parts.append(f"{len(texts)}{total} {said.replace('with it', 'with the runs')}{named}")
    return ", ".join(parts)
