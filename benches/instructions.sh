#!/usr/bin/env bash
# Instructions per get and return, by callgrind, beside what was recorded last.
#
#     benches/instructions.sh            compares
#     benches/instructions.sh --check    compares, and fails where pool-core takes more than was recorded
#     benches/instructions.sh --record   compares, and records
#
# The figure is the difference of two runs of different length over the gets between them, so that what a run
# costs by itself is not in it. With the same code and compiler it is the same for a hit. Where gets wait it is
# not quite, since maintenance looks at what waits once a millisecond, and the slower the machine, the fewer gets
# there are in one.

set -euo pipefail
cd "$(dirname "$0")/.."

# How much more is too much, in percent. The same code has been seen to differ by 0.5: in a quiet and in a busy
# machine, on one and on two processors.
tolerance=2

mode="${1:-}"
case "$mode" in
'' | --check | --record) ;;
*)
    echo "usage: $0 [--check | --record]" >&2
    exit 2
    ;;
esac

record=benches/instructions.txt
compiler=$(rustc --version)

# An empty RUSTFLAGS is in the way of all others: of a processor that only this machine has, say.
bench=$(env --unset=CARGO_ENCODED_RUSTFLAGS RUSTFLAGS= \
    cargo bench -p benches --bench checkout --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*checkout-[^"]*\)".*/\1/p')

# count ROUNDS SYSTEM SCENARIO: the instructions of a whole run.
count() {
    local said
    if ! said=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" --quick --rounds "$1" \
        --system "$2" --only "$3" 2>&1 >/dev/null); then
        echo "$said" >&2
        return 1
    fi
    sed -n 's/.*Collected : //p' <<< "$said"
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

over=0
echo "scenario | system | instructions now | recorded"
while IFS= read -r line; do
    key=${line% | *}
    figure=${line##* | }
    before=$(grep -F "$key | " "$record" 2>/dev/null | sed 's/.* | //' || true)
    verdict=
    # deadpool is only beside it: what has changed for both is the compiler's.
    if [ "$mode" = --check ] && [[ "$key" = *" | pool-core" ]]; then
        if [ -z "$before" ]; then
            verdict=" | NOT RECORDED"
        elif [ $((figure * 100)) -gt $((before * (100 + tolerance))) ]; then
            verdict=" | OVER by more than $tolerance %"
        fi
    fi
    [ -z "$verdict" ] || over=1
    echo "$line | ${before:--}$verdict"
done < "$now"

if [ "$mode" = --record ]; then
    { echo "# $compiler" && cat "$now"; } > "$record"
fi
if [ "$over" = 1 ]; then
    recorded=$(sed -n 's/^# //p' "$record" 2>/dev/null || true)
    echo "If this is meant, or the compiler's doing, record it: benches/instructions.sh --record" >&2
    echo "The compiler is $compiler; recorded was with ${recorded:-none}" >&2
    exit 1
fi
