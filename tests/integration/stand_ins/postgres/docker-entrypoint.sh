#!/bin/sh
# Make the cluster at the first start, then run the server, as the official image does. Root becomes postgres.
set -eu
if [ "$(id -u)" = 0 ]; then
    chown postgres "$PGDATA"
    exec setpriv --reuid postgres --regid postgres --init-groups sh "$0" "$@"
fi
: "${POSTGRES_PASSWORD:?is empty, and the database has to have a password}"
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username "$user" --pwfile /tmp/password --auth-host scram-sha-256 --auth-local trust --encoding UTF8 --locale C.UTF-8
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        pg_ctl --wait start --options "-c listen_addresses=''"
        createdb --username "$user" "$database"
        pg_ctl --wait stop
    fi
fi
exec "$@" -c "listen_addresses=*"
