"""What ``winsockctl doctor`` looks at on Linux only."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence

from winsockctl import ControlCode, RawSocket
from winsockctl.cli import namespace
from winsockctl.cli.checks import NO, OK, Check, Outcome
from winsockctl.cli.control_trials import Trial

assert sys.platform == "linux"


def _privilege() -> Outcome:
    RawSocket(socket.AF_UNSPEC).close()
    return OK, "a raw socket can be opened"


def _private_namespace() -> Outcome:
    if obstacle := namespace.obstacle():
        return NO, f"{obstacle}; {'; or '.join(namespace.namespace_remedies())}"
    return OK, "a private user and network namespace can be made"


FIRST_CHECKS: Sequence[tuple[str, Check]] = [("privilege", _privilege)]
LAST_CHECKS: Sequence[tuple[str, Check]] = [("demo without privilege", _private_namespace)]
TRIALS: Mapping[ControlCode, Trial] = {}
NOT_TRIED: Mapping[ControlCode, str] = {}
