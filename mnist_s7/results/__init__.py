"""Runs as data: one training run and its file (`run`), what many say together (`statistics`), and whether a repeated
one is as it should be (`repeated`)."""

from mnist_s7.results.repeated import RunDiffers, check_against_stored
from mnist_s7.results.run import (
    PUBLISHED,
    RUNS,
    Epoch,
    Run,
    RunFileError,
    StandInRefused,
    load_runs,
    refuse_stand_in,
    results_folder,
    run_name,
    write_whole,
)
from mnist_s7.results.statistics import (
    CORRECTED_LABELS,
    ENOUGH,
    LABEL_ERRORS,
    TEST_IMAGES,
    Difference,
    Summary,
    by_experiment,
    corrected_accuracy,
    paired,
    prediction_interval,
    summarize,
    wilson,
)

__all__ = [
    "CORRECTED_LABELS",
    "ENOUGH",
    "LABEL_ERRORS",
    "PUBLISHED",
    "RUNS",
    "TEST_IMAGES",
    "Difference",
    "Epoch",
    "Run",
    "RunDiffers",
    "RunFileError",
    "StandInRefused",
    "Summary",
    "by_experiment",
    "check_against_stored",
    "corrected_accuracy",
    "load_runs",
    "paired",
    "prediction_interval",
    "refuse_stand_in",
    "results_folder",
    "run_name",
    "summarize",
    "wilson",
    "write_whole",
]
