import json
from pathlib import Path

import pytest

from ftcli.errors import RunDirectoryError
from ftcli.runs.directory import RunDirectory
from ftcli.runs.environment import environment, read_environment


def test_the_environment_has_versions_device_and_directory_and_reads_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    value = environment("cpu", "fp32", arithmetic=2, threads=3)
    assert (value["device"], value["precision"], value["directory"]) == ("cpu", "fp32", str(Path.cwd()))
    assert (value["arithmetic"], value["threads"]) == (2, 3)
    assert {"ftcli", "torch", "torchvision"} <= value["versions"].keys()
    run.environment.write_text(json.dumps(value))
    assert read_environment(run) == value


@pytest.mark.parametrize("missing", ["versions", "device", "precision"])
def test_an_incomplete_environment_is_refused(tmp_path: Path, missing: str) -> None:
    run = RunDirectory(tmp_path)
    value = {key: given for key, given in environment("cpu", "fp32", arithmetic=2, threads=3).items() if key != missing}
    run.environment.write_text(json.dumps(value))
    with pytest.raises(RunDirectoryError) as caught:
        read_environment(run)
    assert caught.value.where == str(run.environment)
