"""What holds for every test."""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")  # how long an example takes says how busy the machine is, and nothing of the code


def pytest_configure(config: pytest.Config) -> None:
    """Signals do what they do for someone at a terminal: started in the background or by nohup, processes would be born deaf to some."""
    os.environ["INTERP_TUI_STATE"] = str(Path(tempfile.gettempdir()) / "interp-tui-tests-state")  # no test starts what waits in your queue
    os.environ["INTERP_TUI_NO_SPARE"] = "1"  # nor a process ahead of a run that no test starts
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
