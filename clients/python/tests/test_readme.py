"""The example of the README, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Cluster

README = Path(__file__).parents[1] / "README.md"


def test_the_example_runs(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    path = '"certs/cluster/client.toml"'
    assert path in example
    exec(compile(example.replace(path, repr(str(cluster.client_file))), str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert re.search(r"state \d+ was None", printed)
    assert "last changed" in printed or "expected" in printed, printed
    assert "b'good morning'" in printed
