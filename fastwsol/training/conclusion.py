"""The end of a training: what predictions need beside the networks, the evaluation, and the report."""

from fastwsol.evaluation.directions import find_directions
from fastwsol.evaluation.of_network import Evaluation, evaluate_model
from fastwsol.evaluation.report_words import heading_of
from fastwsol.evaluation.summary_table import print_summary
from fastwsol.evaluation.thresholds import Cut
from fastwsol.evaluation.tuning import own_cuts
from fastwsol.host.errors import Interrupted
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.runs.reports import ReportOf
from fastwsol.training.job import Job


def tell_finished(run: RunDir, split: str) -> None:
    """Print the report of a run that came to its end before. Raises UserError where it is damaged."""
    of = ReportOf(split)
    report = run.read_report(of)
    print(f"{run.folder}: this run is finished and was not trained again; another --seed or --run-dir trains another")
    print_summary(report, run.report_file(of), heading_of(report))


def conclude(job: Job, model: LocalizingModel) -> None:
    """Find what predictions need beside the trained networks, evaluate them, and store and print all that. Raises
    Interrupted where a signal asks for a stop: all that was trained is saved.
    """
    config, setup, run, last = job.config, job.setup, job.run, job.timetable.total_steps
    try:
        model.directions = find_directions(model, setup)
        cuts = own_cuts(model, setup)
        setup.process.world.lead_does(lambda: store_findings(run, model, cuts))
        evaluation = evaluate_model(model, config.eval_split, last, setup, cuts=cuts)
        setup.process.world.lead_does(lambda: finish(run, evaluation) if evaluation is not None else None)
    except Interrupted:
        done = f"all {last:,} steps are done and saved in {run.folder}"
        raise Interrupted(f"{done}; the same command evaluates them") from None


def store_findings(run: RunDir, model: LocalizingModel, cuts: dict[str, Cut]) -> None:
    """Store what was found on the images trained on once the training was done."""
    saved = newest_valid(run.checkpoints)
    assert saved is not None
    assert model.directions is not None
    run.write_directions(model.directions, saved.scalars["sha256"])
    run.write_cuts(cuts)


def finish(run: RunDir, evaluation: Evaluation) -> None:
    """Store and print the report of a run that came to its end."""
    report = evaluation.report
    last_row = {"kind": "eval", "split": report["split"], "step": report["step"], **report["rates"]}
    if last_row not in run.rows():  # a run killed just before its report has written it already
        run.append_row(last_row)
    of = ReportOf(report["split"])
    run.write_report(report, evaluation.rows, of)
    print_summary(report, run.report_file(of), heading_of(report))
