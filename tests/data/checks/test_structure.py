"""Checks of a dataset as a whole that the command line does not reach well."""

from pathlib import Path, PosixPath

from ftcli.data.checks.structure import unlabelled_findings
from ftcli.data.dataset import Dataset


class Counted(PosixPath):
    """A path that counts how often paths are hashed."""

    hashed = 0

    def __hash__(self) -> int:
        Counted.hashed += 1
        return super().__hash__()


def test_the_time_to_sort_files_outside_classes_grows_with_their_number_and_not_its_square() -> None:
    names = [f"{number}.{kind}" for number in range(200) for kind in ("heic", "jpg", "txt")]
    dataset = Dataset(Path("root"), ("a", "b"), {}, tuple(Counted("root", name) for name in names), None)
    Counted.hashed = 0
    findings = list(unlabelled_findings(dataset))
    assert [(finding.code, len(finding.cases)) for finding in findings] == [
        ("no-label", 200),
        ("unread-format", 200),
        ("stray", 200),
    ]
    assert Counted.hashed <= 5 * len(names)
