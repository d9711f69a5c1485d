"""Diagnosis of the surroundings: settings, machine, Kafka, Postgres, Redis.

Looks and changes nothing, so it may run beside workers at any time.
"""

from execstream.cli.diagnosis.examination import examine as examine
from execstream.cli.diagnosis.finding import Finding as Finding
from execstream.cli.diagnosis.finding import State as State
