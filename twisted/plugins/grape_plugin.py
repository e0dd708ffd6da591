"""The ``grape`` command of twistd and twist."""

from twisted.application.service import ServiceMaker

# Never rename this variable: a stale dropin.cache then drops the command.
grape = ServiceMaker(
    "Grape",
    "grape.tap",
    "A Grenache grape: DHT node with an HTTP API",
    "grape",
)
