#!/usr/bin/env bash
# Submit, wait, read, download and predict, with curl alone; Python picks values out of the JSON.
set -euo pipefail

url=${FMX_URL:-http://127.0.0.1:8000}
folder=${1:-out/example}
mkdir -p "$folder"

# fmx PATH [CURL OPTIONS]: a request; an error's body is printed, and ends the script.
fmx() {
    local path=$1
    shift
    curl --silent --show-error --fail-with-body \
        ${FMX_API_KEY:+--header "Authorization: Bearer $FMX_API_KEY"} "$@" "$url$path"
}

# pick EXPRESSION: a value of the JSON on standard input, which is `it`.
pick() {
    python3 -c "import json, sys; it = json.load(sys.stdin); print($1)"
}

# The same idempotency key submits once, however often a broken connection makes it be sent.
job=$(fmx /v1/jobs --header 'Content-Type: application/json' \
    --header "Idempotency-Key: example-$$-$(date +%s)" --data @- <<END | pick "it['id']"
{"kind": "q1", "preset": "quick", "name": "with curl",
 "spec": {"dataset": "${DATASET:-fashion-mnist}", "max_epochs": ${EPOCHS:-5}}}
END
)
echo "job $job"

# With `Prefer: wait` the answer comes when the job has ended, or after so many seconds.
state=queued
while [[ $state =~ ^(queued|running|cancelling)$ ]]; do
    state=$(fmx "/v1/jobs/$job" --header 'Prefer: wait=30' | pick "it['state']")
done
echo "state $state"
[ "$state" = succeeded ]

fmx "/v1/jobs/$job/results" | pick \
    "'\n'.join(f\"{c['id']}: published {c['published']}, ours {(c['ours'] or {}).get('mean')}\" for c in it['comparisons'])"

run=$(fmx "/v1/jobs/$job/runs" | pick "it['items'][0]['id']")
fmx "/v1/runs/$run/metrics?format=csv" --output "$folder/epochs.csv"
fmx "/v1/jobs/$job/artifacts/figure-1-loss.png" --output "$folder/loss.png"
fmx "/v1/reports/report.html?jobs=$job" --output "$folder/report.html"
echo "files $(ls "$folder" | xargs)"

model=$(fmx "/v1/jobs/$job" | pick "it['models'][0]")
fmx "/v1/models/$model/predict" --header 'Content-Type: application/json' \
    --data '{"test_rows": [0, 1, 2]}' |
    pick "'\n'.join(f\"row {p['row']}: {p['label']}, is {p['actual']}\" for p in it['predictions'])"
