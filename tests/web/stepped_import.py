"""Programs that load the site in steps and as usual, for the tests and for .ci/site-modules."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SECONDS = 20.0
# What a running grape has loaded before.
BEFORE = """
import json, sys, time
import grape.cli.run
grape.cli.run.load_less()
import grape.tap, grape.service
from twisted.internet import reactor

OF = ("grape", "klein", "prometheus_client", "twisted", "werkzeug", "wsgiref", "xml")

def packages():
    return {
        name: sorted(member for member in vars(module) if not member.startswith("__"))
        for name, module in sys.modules.items()
        if hasattr(module, "__path__") and name.split(".")[0] in OF
    }
"""
# Prints what each step loaded, with its seconds; what the site loaded after them; the members of the packages.
STEPPED = f"""{BEFORE}
from grape.web.site_modules import SITE_MODULES, SteppedImport

steps = []
grape.tap.spare_the_collector()
imports = SteppedImport()
while True:
    before, began = set(sys.modules), time.perf_counter()
    if not imports.step():
        break
    steps.append((sorted(set(sys.modules) - before), time.perf_counter() - began))
imports.finish()
before = set(sys.modules)
import grape.resource, grape.web.site
print(json.dumps([steps, sorted(set(sys.modules) - before), packages()]))
"""
USUAL = f"""{BEFORE}
import grape.web.site_modules, grape.resource, grape.web.site, encodings.idna
print(json.dumps(packages()))
"""


def run(program: str) -> Any:
    """Returns what a program prints as JSON."""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
