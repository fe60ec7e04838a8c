# shellcheck shell=bash
# Shared by the scripts here and by .ci/run: source it, do not run it.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Tools that `cargo install` puts down are found here, in the shell that installed them too.
export PATH="${CARGO_HOME:-${HOME:-/root}/.cargo}/bin:$PATH"

say() {
    printf '\n== %s\n' "$*"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

is_root() {
    [ "$(id -u)" -eq 0 ]
}
