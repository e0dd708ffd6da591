"""Describes when, where and with what something was measured: machine, commit, date and Python build."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gauntlet.machine import ROOT

COMMAND_SECONDS = 20.0


def processor() -> str:
    """Returns the name of the processor, or that of its architecture if the system tells no other."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware") and value.strip():
            return " ".join(value.split())
    return platform.processor() or platform.machine()


def commit() -> str:
    """Returns the short hash of this checkout's commit, with "+" if files were changed since; "" without git."""
    try:
        head = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
        changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changed else "")


def about() -> dict[str, object]:
    """Returns date (UTC), commit, processor, number of processors, memory in GiB, kernel and load of the machine."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": processor(),
        "processors": os.cpu_count() or 1,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def interpreter(python: str, environment: Mapping[str, str]) -> dict[str, object]:
    """Runs ``gauntlet.interpreter`` with a Python; returns its description of itself and of the grape that it imports.

    ``environment`` is the one in which the grapes run. Raises OSError or ValueError if it cannot.
    """
    try:
        # In a directory that has no package grape, as the measured processes are.
        done = subprocess.run(
            [python, "-m", "gauntlet.interpreter"],
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env=dict(environment),
            cwd="/",
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{python} did not answer within {COMMAND_SECONDS:g} s") from error
    if done.returncode:
        raise ValueError(f"{python} cannot run a grape: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
    told: dict[str, object] = json.loads(done.stdout)
    return told


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=True)
    return done.stdout.strip()
