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

# There, a relative LOG_FILENAME starts from Superset's home. This image has none: it may be mounted.
home="${SUPERSET_HOME:-/app/superset_home}"
if [ -d "$home" ]; then
  cd "$home"
fi

exec wsgi-ws serve "$@"
