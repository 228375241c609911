#!/usr/bin/env bash
# Instructions per get and return, by callgrind, beside what was recorded last.
#
#     benches/instructions.sh            compares
#     benches/instructions.sh --record   compares, and records
#
# The figure is the difference of two runs of different length over the gets between them, so that what a run
# costs by itself is not in it. It is the same for the same code and compiler.

set -euo pipefail
cd "$(dirname "$0")/.."

record=benches/instructions.txt
bench=$(cargo bench -p benches --bench checkout --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*checkout-[^"]*\)".*/\1/p')

count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" --quick --rounds "$1" \
        --system "$2" --only "$3" 2>&1 >/dev/null | sed -n 's/.*Collected : //p'
}

# Gets of a quick round, its warm-up included.
declare -A gets=(["1 task, size 16"]=110000 ["64 tasks, size 4, one yield held, 1 thread"]=55000)

now=$(mktemp)
trap 'rm -f "$now"' EXIT
for scenario in "${!gets[@]}"; do
    for system in "pool-core" "deadpool"; do
        short=$(count 1 "$system" "$scenario")
        long=$(count 2 "$system" "$scenario")
        echo "$scenario | $system | $(((long - short) / gets[$scenario]))"
    done
done | sort > "$now"

echo "scenario | system | instructions now | recorded"
while IFS= read -r line; do
    key=${line% | *}
    before=$(grep -F "$key | " "$record" 2>/dev/null | sed 's/.* | //' || true)
    echo "$line | ${before:--}"
done < "$now"
if [ "${1:-}" = --record ]; then
    cp "$now" "$record"
fi
