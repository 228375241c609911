# What the steps share. Sourced by each of them, from wherever it was called.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A checkout that is built once has no use for what makes the second build quicker, which is gigabytes.
if [ "${CI:-}" = true ]; then
    export CARGO_INCREMENTAL=0
fi

# Tools that a step has to install go here, and not into anybody's home.
target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
tools="$target/ci"
mkdir -p "$tools"
export PATH="$PATH:$tools/bin"

# Builds the workspace's programs for debugging, in the way of `.ci/test`, which has built them then.
debug_programs() {
    cargo build --workspace --all-features --bins --tests
}

# Builds the programs that need to be fast. All at once, so that what they depend on is built once.
release_programs() {
    cargo build --release -p examples -p interop --bin demo --bin interop
}

# What could not be checked, and why: said again at the end of `.ci/run`.
notes="${CI_NOTES:-/dev/null}"

leave_out() {
    echo "NOT CHECKED: $*" | tee -a "$notes" >&2
}

# cargo_tool SUBCOMMAND CRATE: installs a subcommand of Cargo that is missing.
cargo_tool() {
    if ! cargo "$1" --version >/dev/null 2>&1; then
        echo "installing $2 into $tools" >&2
        # A debug build takes a third of the time, and no step waits for these tools.
        cargo install "$2" --locked --debug --root "$tools" --target-dir "$tools/build" --quiet
        rm -rf "$tools/build"
    fi
}

# debian_package NAME: unpacks a Debian package by itself, and prints into which folder. Unpacked rather than
# installed: a package may start a server, and installing takes rights.
debian_package() {
    local folder="$tools/debian/$1"
    if [ ! -d "$folder" ]; then
        rm -rf "$folder.new"
        mkdir -p "$folder.new"
        if ! (
            cd "$folder.new" || exit
            apt-get download "$1" || { apt-get update && apt-get download "$1"; } || exit
            dpkg-deb --extract ./*.deb . && rm -- ./*.deb
        ) >"$folder.log" 2>&1; then
            cat "$folder.log" >&2
            return 1
        fi
        mv "$folder.new" "$folder"
    fi
    echo "$folder"
}

# debian_packages FOLDER NAME..: unpacks Debian packages into a folder, with whatever they need and is not here.
debian_packages() {
    local folder=$1
    shift
    rm -rf "$folder.new" && mkdir -p "$folder.new" || return
    (
        cd "$folder.new" || exit
        download() {
            local plan
            plan=$(apt-get install --simulate --no-install-recommends "$@") || return
            sed -n 's/^Inst \([^ ]*\) .*/\1/p' <<< "$plan" | xargs apt-get download
        }
        download "$@" || { apt-get update && download "$@"; } || exit
        for package in *.deb; do
            dpkg-deb --extract "$package" . || exit
        done
        rm -- *.deb
    ) && rm -rf "$folder" && mv "$folder.new" "$folder"
}

# component NAME COMMAND: adds a component of the toolchain that is missing.
component() {
    if ! cargo "$2" --version >/dev/null 2>&1; then
        rustup component add "$1"
    fi
}
