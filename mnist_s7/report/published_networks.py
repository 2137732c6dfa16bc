"""What is said of networks that others have published: their claims beside our runs, and how they compare with the
series' last iteration.

`baselines` are the stored runs of these networks, by the names of `PUBLISHED_NETWORKS`: of all, of some, or of none.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mnist_s7.baselines import PUBLISHED_NETWORKS, Published, Stated
from mnist_s7.experiments import SERIES, Experiment
from mnist_s7.plots.axes import LIMIT
from mnist_s7.report.across_seeds import confidence_interval, difference_table, differences
from mnist_s7.report.markdown import Markdown, mean_sd, p_value, table
from mnist_s7.results import (
    PUBLIC_NETWORKS,
    PUBLISHED_BASELINES,
    RULE,
    CheckedClaim,
    Difference,
    PublicNetwork,
    Run,
    Runs,
    Summary,
    check_claim,
    compare_with_stated,
    failures,
    summarize,
    trained,
)
from mnist_s7.results.claims import signed
from mnist_s7.schedules import Stepped

OURS = SERIES[-1].name  # the iteration that public networks are compared with
NONE = Markdown(
    "No runs of published networks are stored: `mnist-s7 sweep NAME --seeds 1-10 --output "
    f"notebooks/results/{PUBLISHED_BASELINES.name}` makes some."
)


def stored_networks(baselines: Runs) -> list[Published]:
    """Those that have runs, by their parameters; variants have as many as their network, and follow it."""
    found = [each for each in PUBLISHED_NETWORKS if baselines.get(each.experiment.name)]
    return sorted(found, key=lambda each: each.experiment.parameters)


def checked_claims(baselines: Runs) -> list[CheckedClaim]:
    """Of each claim what our runs say of it, where one trained."""
    found = (_checked(each, baselines) for each in stored_networks(baselines))
    return [claim for claim in found if claim]


def claims_table(baselines: Runs) -> Markdown:
    """Each claim beside our runs of its network, with the verdict, and the rule that it is made by."""
    if not (networks := stored_networks(baselines)):
        return NONE
    header = (
        "network",
        "parameters",
        "claim (%)",
        "how it was obtained",
        "our runs",
        "final epoch, mean ± SD",
        "95 % CI",
        "best epoch (selected on the test set)",
        "final / best epochs that reach the claim",
        "verdict",
    )
    parts = [table(header, [_row(each, baselines) for each in networks]), f"**The verdict.** {RULE}"]
    return Markdown("\n\n".join([*parts, *_beside_their_finals(networks, baselines)]))


def claim_details(baselines: Runs) -> Markdown:
    """Of each network how its claim was obtained, and what our runs do differently."""
    lines = []
    for each in stored_networks(baselines):
        said = each.stated.how if each.stated else "a variant, of which nothing is stated"
        change = f"; {each.experiment.change}" if each.variant_of else ""
        differs = f" Ours: {each.differs}." if each.differs else ""
        lines.append(f"- {_link(each)}: {said}{change}.{differs}{_selecting(each.experiment)}")
    return Markdown("\n".join(lines) or NONE)


def _selecting(experiment: Experiment) -> str:
    """What the test set selects in a recipe, by which its final epochs may look better than they are."""
    by_test_set = {
        "the learning rate": experiment.schedule.stepped is Stepped.TEST_LOSS,
        "the last epoch": experiment.early_stopping is not None,
    }
    selected = [what for what, is_selected in by_test_set.items() if is_selected]
    return f" In theirs and in ours, the test set selects {' and '.join(selected)}." if selected else ""


def variants_table(baselines: Runs) -> Markdown:
    """Each variant, which has mechanics that its authors did not see or run, minus their network."""
    networks = stored_networks(baselines)
    return difference_table(
        baselines, [(each.experiment.name, each.variant_of) for each in networks if each.variant_of]
    )


def place(runs: Runs, baselines: Runs) -> Markdown:
    """Whether a public network below the limit is better, as a mean, than the series' last iteration."""
    if not baselines:
        return NONE
    found = _differences(runs, baselines)
    if not found:
        return Markdown(f"Whether a public network below {LIMIT:,} parameters is better than {OURS} is not known yet.")
    n, size = len(found), sum(map(_is_rival, PUBLISHED_NETWORKS))
    of_all = "" if n == size else f" of {size}"
    winners = [name for name, difference in found.items() if difference.positive]
    lower = sum(difference.positive is False for difference in found.values())
    better = f"{len(winners)} {'is' if len(winners) == 1 else 'are'}" if winners else "none is"
    named = f" ({', '.join(winners)})" if winners else ""
    highest = max(found, key=lambda name: found[name].mean)
    ours, best = _final(runs[OURS]), _final(baselines[highest])
    low, high = map(signed, found[highest].interval)
    p = p_value(found[highest].p)
    p = p if p.startswith("<") else f"= {p}"
    return Markdown(
        f"We trained {n}{of_all} public recipes for networks below {LIMIT:,} parameters again: {better} better as a "
        f"mean than {OURS}{named}, {lower} lower, {n - len(winners) - lower} inconclusive; {OURS}'s final test "
        f"accuracy is {mean_sd(ours.mean, ours.sd)} % (95 % CI {confidence_interval(ours)}, {ours.n} seeds). The "
        f"highest mean of them is that of {highest}, {mean_sd(best.mean, best.sd)} % ({best.n} seeds), "
        f"{signed(found[highest].mean)} pp from {OURS}'s (95 % CI {low} to {high}, p {p}; Welch's "
        f"t-test, p adjusted by Holm for {n} comparison{'' if n == 1 else 's'})."
    )


def against_ours(runs: Runs, baselines: Runs) -> Markdown:
    """Each public network below the limit, minus the series' last iteration."""
    return difference_table({**runs, **baselines}, [(each, OURS) for each in _rivals(baselines)])


def public_comparison(runs: Runs, baselines: Runs) -> Markdown:
    """The experiments and public networks, by their parameters, with how each accuracy was measured: in our runs, where
    there are some, and as stated where not."""
    rows = []
    for name, group in runs.items():
        final, measured = _measured(group)
        rows.append((name, group[0].parameters, final, measured))
    for each in _networks(baselines):
        final, measured = _measured(baselines[each.experiment.name], _stopped(each.experiment))
        rows.append((_link(each), each.experiment.parameters, final, f"trained again here: {measured}"))
    for other in stated_elsewhere(baselines):
        link = f"[{other.source}](https://github.com/{other.source})"
        sd = f" ± {other.sd:g}" if other.sd else ""  # with all the digits that they state
        rows.append((link, other.parameters, f"{other.accuracy:.2f}{sd}", f"as stated: {other.measured}"))
    rows.sort(key=lambda row: row[1])
    header = ("network", "parameters", "test accuracy (%)", "how it was measured")
    return table(header, [(name, f"{parameters:,}", *others) for name, parameters, *others in rows])


def trained_again(baselines: Runs) -> list[tuple[Published, Summary, str]]:
    """The networks that have runs of which one trained, with their final test accuracies, in percent, and how these
    were measured."""
    found = []
    for each in _networks(baselines):
        group = baselines[each.experiment.name]
        if trained(group):
            _, measured = _measured(group, _stopped(each.experiment))
            said = f"the network of {each.source.repository}, trained again here: {measured}"
            found.append((each, _final(group), said))
    return found


def stated_elsewhere(baselines: Runs) -> list[PublicNetwork]:
    """The public networks of which we have no runs, with the figures of their authors."""
    again = {(each.source.repository, each.experiment.parameters) for each in _networks(baselines)}
    return [other for other in PUBLIC_NETWORKS if (other.source, other.parameters) not in again]


def _networks(baselines: Runs) -> list[Published]:
    """Those that have runs, without the variants that nothing is stated of."""
    return [each for each in stored_networks(baselines) if each.stated]


def _is_rival(each: Published) -> bool:
    return each.stated is not None and each.experiment.parameters < LIMIT


def _rivals(baselines: Runs) -> list[str]:
    return [each.experiment.name for each in stored_networks(baselines) if _is_rival(each)]


def _differences(runs: Runs, baselines: Runs) -> Mapping[str, Difference]:
    found = differences({**runs, **baselines}, [(name, OURS) for name in _rivals(baselines)])
    return {name: difference for (name, _), difference in found.items()}


def _final(group: Sequence[Run]) -> Summary:
    return summarize([run.final.test_accuracy for run in trained(group)])


def _checked(each: Published, baselines: Runs) -> CheckedClaim | None:
    if each.stated is None:
        return None
    return check_claim(baselines[each.experiment.name], each.stated.accuracy, each.stated.figure, each.stated.best_of)


def _link(each: Published) -> str:
    address = f"https://github.com/{each.source.repository}/tree/{each.source.commit}"
    return f"[{each.experiment.name}]({address})"


def _obtained(stated: Stated) -> str:
    """`best epoch of the best of 60 runs`; the rest is in `claim_details`."""
    if stated.figure is None:
        return "see below"
    return stated.figure + (f" of the best of {stated.best_of} runs" if stated.best_of > 1 else "")


def _row(each: Published, baselines: Runs) -> Iterable[str]:
    group = baselines[each.experiment.name]
    own = trained(group)
    claim = _checked(each, baselines)
    stated = (f"{each.stated.accuracy:.2f}", _obtained(each.stated)) if each.stated else ("-", "a variant")
    cells = [
        _link(each),
        f"{each.experiment.parameters:,}",
        *stated,
        f"{len(own)}{failures(group)}{_stopped(each.experiment)}",
    ]
    if not own:
        return [*cells, *["-"] * 5]
    final, best = _final(group), summarize([run.best.test_accuracy for run in own])
    cells += [f"**{mean_sd(final.mean, final.sd)}**", confidence_interval(final), mean_sd(best.mean, best.sd)]
    if claim is None:
        return [*cells, "-", "-"]
    return [*cells, f"{claim.reached_final} / {claim.reached_best} of {claim.runs}", f"**{claim.words}**"]


def _beside_their_finals(networks: Sequence[Published], baselines: Runs) -> Iterator[str]:
    """A paragraph for each network whose authors publish all final accuracies of theirs, and for its variants."""
    for each in networks:
        if (theirs := each.finals) is None:
            continue
        values = [run.final.test_accuracy for run in trained(baselines[each.experiment.name])]
        if (found := compare_with_stated(values, theirs.runs, theirs.mean, theirs.sd)) is None:
            continue
        ours, (low, high), p = summarize(values), map(signed, found.interval), p_value(found.p)
        words = {True: "ours end higher", False: "ours end lower", None: "no difference can be told"}[found.positive]
        yield (
            f"**Protocol.** The authors of {each.variant_of or each.experiment.name} publish the final accuracies of "
            f"all their {theirs.runs} runs: {mean_sd(theirs.mean, theirs.sd)} %. Those of our {ours.n} of "
            f"{each.experiment.name} are {mean_sd(ours.mean, ours.sd)} %, {signed(found.mean)} pp from theirs "
            f"(95 % CI {low} to {high}, p {p if p.startswith('<') else f'= {p}'}; {found.test}): {words}. What is not "
            f"as with them: {each.differs}."
        )


def _stopped(experiment: Experiment) -> str:
    """What makes its final epochs other ones than those of a run whose length is fixed."""
    return ", early stopping on the test set" if experiment.early_stopping else ""


def _measured(group: Sequence[Run], how: str = "") -> tuple[str, str]:
    """The mean of the final epochs, and the words for what it is."""
    n = len(trained(group))
    words = "one run" if n == 1 else f"mean of {n} runs, final epoch{failures(group)}{how}"
    if n == 0:
        return "-", words
    final = _final(group)
    return mean_sd(final.mean, final.sd), words
