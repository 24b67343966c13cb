"""`ftcli compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ftcli.cli.options import Debug, Json, Quiet
from ftcli.cli.output import Markdown, check_form, show, show_sections


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_A RUN_B [RUN...]", help="Runs, or exported models; A is the baseline."),
    ],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="Exit with 4 if this holds for any run but the first (repeatable). `worse`: a one-sided paired test "
            "finds it worse. `not-better`: such a test does not find it better. `drop:0.01`: its figure is more than "
            "one point worse, by the point estimate alone, without a test. `not-equivalent:0.02`: two one-sided tests "
            "do not show it within two points.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC", help="Metric to test and tabulate (repeatable). Default: accuracy."),
    ] = None,
    alpha: Annotated[
        float, typer.Option(min=0.0001, max=0.4999, help="Level of each one-sided test of --fail-if.")
    ] = 0.05,
    markdown: Markdown = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the gates to this JUnit XML file.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare runs on the images that they share.

    Images are matched by content. Runs whose recipes differ only in the seed are pooled; intervals then account for
    both sampling and seed variance.
    """
    check_form(as_json=as_json, markdown=markdown)
    from ftcli.commands.compare import compare_runs
    from ftcli.commands.outputs import check_output, write_junit
    from ftcli.evaluation.gates import Rules, check_limits, check_metric, parse_rule, raise_failed
    from ftcli.report.text.compare import compare_sections, compare_title

    if junit is not None:
        check_output(junit)
    metrics = tuple(dict.fromkeys(check_metric(name) for name in metric or ["accuracy"]))
    rules = Rules(tuple(dict.fromkeys(parse_rule(text) for text in fail_if or [])), metrics, alpha)
    check_limits(rules)
    findings = compare_runs(runs, rules)
    if junit is not None:
        write_junit(junit, findings.gates, suite="ftcli compare")
    if as_json:
        show(findings.to_json())
    else:
        show_sections(compare_sections(findings), compare_title(findings), markdown=markdown)
    raise_failed(findings.gates)
