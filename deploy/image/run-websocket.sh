#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Starts the server where Superset 7's own image starts its one: its Kubernetes operator calls this
# path. The settings are environment variables (PORT, JWT_SECRET, REDIS_HOST, ...), a file, or both.
set -e

# Superset's image looks for the file beside its bundle, whatever the working directory is.
for file in /app/superset-websocket/config.json /home/superset-websocket/config.json; do
  if [ -z "${WSGI_WS_CONFIG:-}" ] && [ -e "$file" ]; then
    export WSGI_WS_CONFIG="$file"
  fi
done

# There, a relative LOG_FILENAME starts from Superset's home. Not by going there: whoever may write to
# it could leave a config.json.
case "${LOG_FILENAME:-/}" in
  /*) ;;
  *) export LOG_FILENAME="${SUPERSET_HOME:-/app/superset_home}/$LOG_FILENAME" ;;
esac

exec wsgi-ws serve "$@"
