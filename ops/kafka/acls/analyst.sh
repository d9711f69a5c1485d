#!/bin/sh
# Rights of `User:execstream-analyst`, or of PRINCIPAL; generated from topics.yaml: make docs.
# BOOTSTRAP: a broker. ADMIN: settings of kafka-acls.sh, of an operator of Kafka.
# TOPIC_PREFIX, GROUP_PREFIX: those of the installation, if it has any.
set -eu
allow() {
  kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" --add \
    --allow-principal "${PRINCIPAL:-User:execstream-analyst}" "$@"
}
allow --operation Read --operation Describe --topic "${TOPIC_PREFIX:-}execution.events.v1"
allow --operation Read --operation Describe --topic "${TOPIC_PREFIX:-}execution.catalogue.v1"
allow --operation Read --operation Describe --topic "${TOPIC_PREFIX:-}execution.block-stats.v1"
allow --operation Read --operation Describe --group "analyst-" --resource-pattern-type prefixed
