#!/usr/bin/env bash
# Instructions per get and return, and per unary call, by callgrind, beside what was recorded last.
#
#     benches/instructions.sh            compares
#     benches/instructions.sh --check    compares, and fails where a pool takes more than was recorded, where much
#                                        less was measured, and where the record is not of what is measured
#     benches/instructions.sh --record   compares, and records
#
# The figure is the difference of two runs of different length over the gets or calls between them, so that what
# a run costs by itself is not in it. With the same code and compiler it is the same for a hit. Where gets wait it
# is not quite, since maintenance looks at what waits once a millisecond, and the slower the machine, the fewer gets
# there are in one. Nor is it for a call, since how many answers come at once is the server's doing.

set -euo pipefail
cd "$(dirname "$0")/.."

# How much more is too much, in percent. The same code has been seen to differ by 0.5: in a quiet and in a busy
# machine, on one and on two processors. So has that of a call.
tolerance=2

# How much less is no improvement that anybody has to believe, in percent: what is measured may have become empty.
empty=10

# At most this part of a channel's instructions is a unary call to take.
unary="unary call, 16 concurrent, 2 connections"
bar=0.72

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

# program NAME: builds a benchmark, and prints where it is.
program() {
    # An empty RUSTFLAGS is in the way of all others: of a processor that only this machine has, say.
    env --unset=CARGO_ENCODED_RUSTFLAGS RUSTFLAGS= \
        cargo bench -p benches --bench "$1" --no-run --message-format=json |
        sed -n "s/.*\"executable\":\"\([^\"]*$1-[^\"]*\)\".*/\1/p"
}
checkout=$(program checkout)
rpc=$(program rpc)

# count PROGRAM ARGUMENTS: the instructions of a whole run. Those of the server that rpc starts are not in it.
count() {
    local said
    if ! said=$(valgrind --tool=callgrind --trace-children=no --callgrind-out-file=/dev/null \
        "$@" 2>&1 >/dev/null); then
        echo "$said" >&2
        return 1
    fi
    sed -n 's/.*Collected : //p' <<< "$said"
}

# Gets of a quick round, its warm-up included.
declare -A gets=(["1 task, size 16"]=110000 ["64 tasks, size 4, one yield held, 1 thread"]=54976)

# Unary calls, 16 at a time: of the shorter run, and of how many more the longer one makes.
calls=1600
more=4800

now=$(mktemp)
trap 'rm -f "$now"' EXIT
{
    for scenario in "${!gets[@]}"; do
        for system in "pool-core" "deadpool"; do
            get=(count "$checkout" --quick --system "$system" --only "$scenario")
            short=$("${get[@]}" --rounds 1)
            long=$("${get[@]}" --rounds 2)
            echo "$scenario | $system | $(((long - short) / gets[$scenario]))"
        done
    done
    for system in "pool-tonic" "channel"; do
        short=$(count "$rpc" --system "$system" --calls "$calls")
        long=$(count "$rpc" --system "$system" --calls "$((calls + more))")
        echo "$unary | $system | $(((long - short) / more))"
    done
} | sort > "$now"

recorded=$record
[ -f "$recorded" ] || recorded=/dev/null
verdict=0
awk -F ' [|] ' -v tolerance="$tolerance" -v empty="$empty" -v unary="$unary" -v bar="$bar" '
    function say(text, verdict) {
        bad = bad || verdict != ""
        print text (verdict == "" ? "" : " | " verdict)
    }
    BEGIN { print "scenario | system | instructions now | recorded" }
    /^#/ { next }
    FILENAME == ARGV[1] { before[$1 " | " $2] = $3; next }
    {
        key = $1 " | " $2
        ours = $2 ~ /^pool-/
        if (ours) { pool[$1] = $3; scenarios[++count] = $1 }
        else { peer[$1] = $3; name[$1] = $2 }
        if (!(key in before)) { say($0 " | -", "NOT RECORDED"); next }
        verdict = ""
        # The peer is only beside it: what has become more for both is the compiler'"'"'s doing.
        if (ours && $3 * 100 > before[key] * (100 + tolerance)) verdict = "OVER by more than " tolerance " %"
        if ($3 * 100 < before[key] * (100 - empty)) verdict = "UNDER by more than " empty " %"
        say($0 " | " before[key], verdict)
        delete before[key]
    }
    END {
        for (key in before) say(key " | - | " before[key], "NOT MEASURED")
        for (n = 1; n <= count; n++) {
            scenario = scenarios[n]
            ratio = pool[scenario] / peer[scenario]
            said = ""
            if (scenario == unary) said = ratio > bar ? "OVER the bar of " bar : ""
            say(sprintf("%s: %.3f of %s", scenario, ratio, name[scenario]), said)
        }
        exit bad
    }
' "$recorded" "$now" || verdict=$?

if [ "$mode" = --record ]; then
    { echo "# $compiler" && cat "$now"; } > "$record"
elif [ "$mode" = --check ] && [ "$verdict" != 0 ]; then
    with=$(sed -n 's/^# //p' "$recorded")
    echo "If this is meant, or the compiler's doing, record it: benches/instructions.sh --record" >&2
    echo "The compiler is $compiler; recorded was with ${with:-none}" >&2
    exit 1
fi
