"""The metric of the version, which workers and the HTTP server export."""

from prometheus_client import Info

BUILD = Info("execstream_build", "The versions of execstream and of Python.")
