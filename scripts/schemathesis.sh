#!/bin/sh
# Asks a control node everything that its OpenAPI document allows, and much that it does not, with the
# operator's certificate and without: no answer may be a 5xx, have a status that the document does not
# name, or differ from its schema. It changes and removes pairs: only for a lab (`make lab ARGS=--stay`),
# whose `export` line says CA, CERT, KEY, NODE and NAME.
set -eu

version=4.32.5
for name in CA CERT KEY NODE NAME; do
    if ! printenv "$name" >/dev/null; then
        echo "$name is not set: start 'make lab ARGS=--stay' and paste its export line here" >&2
        exit 2
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "schemathesis==$version"

# The name in the certificate has no address of its own.
host=$NAME.core.continuum.internal
port=${NODE##*:}
mkdir "$work/names"
cat > "$work/names/sitecustomize.py" <<PYTHON
import socket

ask = socket.getaddrinfo


def answer(host, *rest, **named):
    text = host.decode() if isinstance(host, bytes) else host
    return ask("${NODE%:*}" if text == "$host" else host, *rest, **named)


socket.getaddrinfo = answer
PYTHON
curl --silent --show-error --fail --cacert "$CA" --connect-to "::$NODE" \
    "https://$host/api/v1/openapi.json" -o "$work/openapi.json"

# A stream of events does not end, and a lab's core keeps its members.
run() {
    PYTHONPATH="$work/names" "$work/venv/bin/schemathesis" run "$work/openapi.json" \
        --url "https://$host:$port" --tls-verify "$CA" "$@" \
        --exclude-operation-id streamEvents --exclude-operation-id addCoreNode \
        --exclude-operation-id removeCoreNode --phases examples,coverage,fuzzing \
        --max-examples "${EXAMPLES:-12}" --rate-limit 40/s --request-timeout 20 \
        --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance \
        --continue-on-failure --warnings off
}
cd "$work"
failed=0
echo "without credentials"
run || failed=1
echo "with the operator's certificate"
run --request-cert "$CERT" --request-cert-key "$KEY" || failed=1
exit "$failed"
