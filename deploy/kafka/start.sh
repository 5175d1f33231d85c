#!/bin/sh
# Starts one node. The first start formats its folder and makes the user `admin`, who makes everything else.
#   KAFKA_CONFIG           the server's properties
#   CLUSTER_ID_FILE        16 bytes in base64url; the same on every node
#   ADMIN_PASSWORD_FILE    the password of `admin` for the first start
set -eu

bin=${KAFKA_BIN:-/opt/kafka/bin}
config=${KAFKA_CONFIG:-/etc/kafka/server.properties}
data=$(sed -n 's/^log\.dirs=//p' "$config")

if [ ! -e "$data/meta.properties" ]; then
    # The password goes through a file that only we can read: arguments are seen by every process.
    umask 077
    arguments=$(mktemp)
    trap 'rm -f "$arguments"' EXIT
    printf 'SCRAM-SHA-512=[name=admin,password=%s]\n' "$(cat "$ADMIN_PASSWORD_FILE")" >"$arguments"
    "$bin/kafka-storage.sh" format --ignore-formatted --cluster-id "$(cat "$CLUSTER_ID_FILE")" --config "$config" \
        --add-scram "@$arguments"
    rm -f "$arguments"
    trap - EXIT
fi
exec "$bin/kafka-server-start.sh" "$config"
