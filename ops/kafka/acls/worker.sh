#!/bin/sh
# Rights of `User:execstream-worker`, or of PRINCIPAL; generated from topics.yaml: make docs.
# BOOTSTRAP: a broker. ADMIN: settings of kafka-acls.sh, of an operator of Kafka.
# TOPIC_PREFIX, GROUP_PREFIX: those of the installation, if it has any.
set -eu
allow() {
  kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" --add \
    --allow-principal "${PRINCIPAL:-User:execstream-worker}" "$@"
}
allow --operation Read --operation Write --operation Describe --topic "${TOPIC_PREFIX:-}execution.commands.v1"
allow --operation Read --operation Write --operation Describe --topic "${TOPIC_PREFIX:-}execution.events.v1"
allow --operation Read --operation Describe --topic "${TOPIC_PREFIX:-}execution.catalogue.v1"
allow --operation Read --operation Write --operation Describe --topic "${TOPIC_PREFIX:-}execution.block-stats.v1"
allow --operation Write --operation Describe --topic "${TOPIC_PREFIX:-}execution.dead-letters.v1"
allow --operation Read --operation Describe --group "${GROUP_PREFIX:-execstream}-" --resource-pattern-type prefixed
