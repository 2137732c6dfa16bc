"""Conclusions drawn from differences of two experiments, and whether they hold on a second data set too."""

from dataclasses import dataclass

from mnist_s7.results.statistics import Difference

HOLDS, REVERSED, INCONCLUSIVE, NOT_MEASURED = "holds", "reversed", "inconclusive", "not measured"


@dataclass(frozen=True)
class Conclusion:
    """In words, that the experiment `one` has a higher accuracy than the `other`; or with a `margin`, in percentage
    points, that it has at most so much less."""

    text: str
    one: str
    other: str
    margin: float | None = None

    def finding(self, difference: Difference) -> bool | None:
        """Whether a difference of the two says so; None where it is inconclusive.

        With a margin, the 95 % confidence interval has to lie above or below it: a test of non-inferiority (G. Piaggio
        et al., JAMA 308(24), 2012), one-sided at 2.5 %. Else the difference has to be significant.
        """
        if self.margin is None:
            return difference.positive
        low, high = difference.interval
        return True if low > -self.margin else False if high < -self.margin else None


@dataclass(frozen=True)
class Comparison:
    """The differences that a conclusion is about, on the data set that it was drawn on and on another, None where there
    are too few runs; with `notes` on each, which say what is special about its runs."""

    conclusion: Conclusion
    differences: tuple[Difference | None, Difference | None]
    notes: tuple[str, str] = ("", "")

    @property
    def verdict(self) -> str:
        """`holds` where both data sets say the same and neither is inconclusive, `reversed` where they say the
        opposite."""
        if None in self.differences:
            return NOT_MEASURED
        findings = [self.conclusion.finding(difference) for difference in self.differences]
        if None in findings:
            return INCONCLUSIVE
        return HOLDS if findings[0] == findings[1] else REVERSED
