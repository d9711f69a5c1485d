"""JSON Schemas of the messages about alerts and ends of runs, on Redis and to the webhook."""

from execstream.storage.alerts.outbox import AlertMessage
from execstream.storage.alerts.records import Alert, MessageType
from execstream.storage.alerts.run_ends import TYPE, EndedRun, RunMessage
from execstream.streams.json_schemas import DEFINITIONS, Described, describe
from execstream.streams.statuses import ENDED


def alert_schema() -> Described:
    """Describe the messages of the channel `execution_alert`; the webhook gets the same."""
    schema = describe(AlertMessage)
    alert = Alert.model_json_schema(mode="serialization", ref_template=DEFINITIONS + "{model}")
    schema.definitions.update(alert.pop("$defs"))
    schema.definitions[Alert.__name__] = alert
    schema.definitions[AlertMessage.__name__]["properties"] |= {
        "type": {"enum": sorted(map(str, MessageType))},
        "alert": {"$ref": DEFINITIONS + Alert.__name__},
    }
    return schema


def run_end_schema() -> Described:
    """Describe the messages to the webhook about ends of runs."""
    schema = describe(RunMessage)
    schema.definitions[RunMessage.__name__]["properties"]["type"] = {"const": TYPE}
    statuses = {"enum": sorted(map(str, ENDED))}
    schema.definitions[EndedRun.__name__]["properties"]["status"] = statuses
    return schema
