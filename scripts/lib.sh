# What the scripts share. Sourced, not run.

# A function in $(…) stops where it fails, as it does elsewhere.
shopt -s inherit_errexit
# What is built has the same modes for everyone who builds it.
umask 022

# One line about what is being done, on standard error.
say() {
    printf '== %s\n' "$*" >&2
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

need_root() {
    [ "$(id -u)" = 0 ] || fail "network namespaces need root: run it again with sudo"
}

# A Rust toolchain under sudo is often not in PATH, but still in the home of whoever called sudo.
need_cargo() {
    if ! command -v cargo >/dev/null; then
        local home
        home=$(getent passwd "${SUDO_USER:-root}" | cut -d: -f6)
        PATH="$home/.cargo/bin:$PATH"
        export CARGO_HOME="${CARGO_HOME:-$home/.cargo}" RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
    fi
    command -v cargo >/dev/null || fail "there is no cargo: install a Rust toolchain (https://rustup.rs)"
}

# Nightly Rust with these components, through rustup.
need_nightly() {
    command -v rustup >/dev/null || fail "there is no rustup, which this needs for nightly Rust (https://rustup.rs)"
    if ! rustup toolchain list | grep -q '^nightly'; then
        say "installing nightly Rust"
        rustup toolchain install nightly --profile minimal
    fi
    local component
    for component in "$@"; do
        if ! rustup component list --toolchain nightly --installed | grep -q "^$component"; then
            say "installing $component for nightly Rust"
            rustup component add "$component" --toolchain nightly
        fi
    done
}

need_tun() {
    [ -c /dev/net/tun ] || fail "there is no /dev/net/tun: load the module (modprobe tun), or give it to this container"
}

# Which of these features this CPU lacks.
cpu_lacks() {
    local feature missing=()
    for feature in "$@"; do
        grep -qw "$feature" /proc/cpuinfo || missing+=("$feature")
    done
    printf '%s' "${missing[*]}"
}

# Which of the instructions of the train kernel (engine/aead) this CPU lacks.
train_kernel_lacks() {
    cpu_lacks avx512f avx512bw avx512vl avx512dq avx512ifma avx512_vbmi2
}

# Which of the instructions of its sister for AVX2.
train_avx2_kernel_lacks() {
    cpu_lacks avx2 bmi2
}

# Which of the instructions of the kernel for AES-256-GCM, over its narrower registers.
vaes_kernel_lacks() {
    cpu_lacks avx2 aes pclmulqdq vaes vpclmulqdq
}

# Installs the Debian packages that are missing.
install_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "these packages are missing, and there is no apt-get: ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # A server may not answer at once, and another apt-get may be at work.
    local patient=(-o Acquire::Retries=5 -o DPkg::Lock::Timeout=300)
    apt-get "${patient[@]}" update -qq </dev/null || fail "apt-get update failed"
    apt-get "${patient[@]}" install -qq -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
        fail "apt-get could not install ${missing[*]}"
}

# Unpacks programs of a Debian package into a directory, unless they are in PATH or there already. The package is not
# installed: it would start a service.
unpack_programs() {
    local package=$1 directory=$2 program missing=() scratch
    shift 2
    for program in "$@"; do
        [ -x "$directory/$program" ] || command -v "$program" >/dev/null || missing+=("$program")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "unpacking ${missing[*]} of $package"
    scratch=$(mktemp -d)
    (
        cd "$scratch"
        apt-get -o Acquire::Retries=5 update -qq </dev/null && apt-get download -qq "$package" </dev/null 2>/dev/null
        dpkg --extract ./*.deb .
    ) || fail "apt-get could not download $package"
    mkdir -p "$directory"
    for program in "${missing[@]}"; do
        install -m 755 "$scratch"/usr/*bin/"$program" "$directory/$program"
    done
    rm -rf "$scratch"
}

# Where Cargo builds.
target_directory() {
    cargo metadata --format-version 1 --no-deps --locked | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# need_tool DIRECTORY CRATE VERSION [ARGUMENT...]: a program of crates.io, built into the directory unless it is there
# in that version. cargo gets the arguments.
need_tool() {
    local directory=$1 crate=$2 wanted=$3
    shift 3
    cargo install --list --root "$directory" 2>/dev/null | grep -qF "$crate v$wanted:" && return
    say "installing $crate $wanted into $directory"
    cargo install "$crate" --version "$wanted" --locked "$@" --root "$directory" </dev/null
}

# browse PROFILE ARGUMENT...: Chromium without a window, with a profile of its own, and nothing that it does by itself.
browse() {
    local profile=$1
    shift
    timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars \
        --disable-background-networking --disable-component-update --disable-sync --user-data-dir="$profile" "$@"
}

# eventually WHAT COMMAND...: tries until it works, for `patience` seconds, or a minute. The script defines what is
# shown if it is in vain (`logs`), and whether there is still something to wait for (`is_alive`).
eventually() {
    local what=$1 deadline=$((SECONDS + ${patience:-60}))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ $SECONDS -ge $deadline ] || ! is_alive; then
            logs >&2 || true
            fail "in vain: $what"
        fi
        sleep 0.1
    done
}

# How many seeds of the simulator, from 0 on, scripts/test runs. A mistake that none of them finds is not found.
export TESTED_SEEDS=1200

# The target of this machine's own programs.
host_target() {
    rustc --version --verbose | sed -n 's/^host: //p'
}

# need_target TARGET: Rust's standard library for it, and what compiles and links the C in it. From then on this shell's
# cargo builds for it.
need_target() {
    local target=$1 name=${1//-/_}
    if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
        command -v rustup >/dev/null || fail "this Rust has no standard library for $target, and there is no rustup"
        say "installing Rust's standard library for $target"
        rustup --quiet target add "$target" || fail "rustup has no standard library for $target"
    fi
    # Build scripts and macros are this machine's own programs, whatever the target.
    install_packages gcc libc6-dev binutils
    case $target in
        "$(host_target)") ;;
        *-linux-gnu)
            # The names of Debian's packages, and what its tools begin with.
            local arch=${target%%-*} tools=${target%%-*}-linux-gnu
            [ "$arch" != aarch64 ] || arch=arm64
            [ "$arch" != x86_64 ] || arch=amd64
            install_packages "gcc-${tools/_/-}" "libc6-dev-$arch-cross" "binutils-${tools/_/-}"
            export "CC_$name=$tools-gcc" "AR_$name=$tools-ar" "CARGO_TARGET_${name^^}_LINKER=$tools-gcc"
            ;;
        *-linux-musl)
            # Rust brings musl and the linker's files; this is for C.
            install_packages musl-tools
            export "CC_$name=musl-gcc" "AR_$name=ar"
            ;;
        *) fail "nobody has said how to build for $target: scripts/lib.sh" ;;
    esac
}

# unit_tests [ARGUMENT...]: the tests of all crates, without those between namespaces. cargo gets the arguments.
unit_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --workspace --filterset 'not binary(namespaces)' --no-tests=pass "$@" </dev/null
    else
        local apart=(ringfort ringfort-bench ringfort-agent)
        cargo test --locked --workspace "${apart[@]/#/--exclude=}" --lib --bins --tests "$@" </dev/null
        cargo test --locked "${apart[@]/#/--package=}" --lib --bins "$@" </dev/null
    fi
}

# build_for TARGET PROFILE [ARGUMENT...]: builds with cargo, which gets the arguments. What it makes lies in the
# directory that `built_in` says, below the target directory.
build_for() {
    local target=$1 profile=$2
    shift 2
    need_target "$target"
    cargo build --locked --target "$target" --profile "$profile" "$@" </dev/null
}

# built_in TARGET PROFILE
built_in() {
    if [ "$2" = dev ]; then printf '%s/debug' "$1"; else printf '%s/%s' "$1" "$2"; fi
}

# The target of a static binary for this machine.
static_target() {
    printf '%s-unknown-linux-musl' "$(uname --machine)"
}

# static_binary [--binary PATH]: where the static binary is that an image gets. It is built unless one is named.
static_binary() {
    case ${1-} in
        '')
            scripts/static >&2
            printf '%s' "$(target_directory)/static/ringfort"
            ;;
        --binary)
            [ -x "${2-}" ] || fail "--binary needs the path of a static binary"
            realpath "$2"
            ;;
        *) fail "unknown argument $1: see the head of this script" ;;
    esac
}

# install_licences BINARY DIRECTORY: those that scripts/static puts beside a binary, and no other file that lies there.
install_licences() {
    local file from
    from=$(dirname "$1")/doc
    for file in THIRD-PARTY-NOTICES LICENSE-MIT LICENSE-APACHE musl-copyright; do
        if [ -f "$from/$file" ]; then
            install -m 644 "$from/$file" "$2/$file"
        else
            say "there is no $from/$file: the image goes without it, so pass it on to nobody"
        fi
    done
}

# What containers call the architecture of this machine.
oci_architecture() {
    case $(uname --machine) in
        x86_64) printf amd64 ;;
        aarch64) printf arm64 ;;
        *) fail "there is no name for $(uname --machine) here" ;;
    esac
}

# in_namespaces DIRECTORY COMMAND: runs it in namespaces of its own for processes, mounts and the network. All that it
# starts ends with it, and it ends with this script, however that ends. The directory is removed.
in_namespaces() {
    # Not local: they are still there when the script ends.
    scratch_of_namespaces=$1 first_of_namespaces=''
    shift
    trap 'end_namespaces' EXIT
    trap 'exit 130' INT TERM HUP
    setpriv --pdeathsig KILL unshare --fork --pid --mount-proc --mount --net --kill-child "$@" &
    first_of_namespaces=$!
    local status=0
    wait "$first_of_namespaces" || status=$?
    first_of_namespaces=''
    return $status
}

end_namespaces() {
    # It blocks milder signals while it waits.
    [ -z "$first_of_namespaces" ] || kill -KILL "$first_of_namespaces" 2>/dev/null || true
    wait
    rm -rf "$scratch_of_namespaces"
}

# beside COMMAND [ARGUMENT...]: runs it, or an exported function, while the script goes on, when the CPUs have nothing
# better to do. It ends with the script. There can be one at a time.
beside() {
    # Not local: they are still there when the script ends.
    output_of_beside=$(mktemp)
    trap 'abandon_beside' EXIT
    trap 'exit 130' INT TERM HUP
    # A process group of its own, so all that it starts can be ended. It is there when this goes on (setsid's is not).
    set -m
    nice -n 15 bash -euo pipefail -c '"$@"' bash "$@" >"$output_of_beside" 2>&1 </dev/null &
    set +m
    group_of_beside=$!
}

# Waits for it, shows what it said, and has its status.
end_beside() {
    local status=0
    wait "$group_of_beside" || status=$?
    group_of_beside=''
    cat "$output_of_beside" >&2
    return $status
}

# The last status in a trap can become that of the script.
abandon_beside() {
    # Again and again: a shell that was forked just now may lose a signal, as it still has our traps then.
    while [ -n "$group_of_beside" ] && kill -TERM -- "-$group_of_beside" 2>/dev/null; do
        sleep 0.05
    done
    wait
    rm -f "$output_of_beside"
}

# Names what is built after the commit, and dates it as it is: $version, $commit, $day, and what cargo reads.
name_build() {
    commit=$(git rev-parse --short=12 HEAD)
    git diff --quiet HEAD -- || commit=$commit-changed
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
    day=$(date --utc --date="@$SOURCE_DATE_EPOCH" +%F)
    RINGFORT_VERSION="$version ($commit, $day)"
    export SOURCE_DATE_EPOCH RINGFORT_VERSION
}

# without_paths SOURCE TARGET: from now on no path of this machine gets into what cargo builds.
without_paths() {
    local map rust='' c=''
    for map in "$1=/ringfort" "${CARGO_HOME:-$HOME/.cargo}=/cargo" "$(rustc --print sysroot)=/rust" "$2=/target"; do
        rust+=" --remap-path-prefix=$map"
        c+=" -ffile-prefix-map=$map"
    done
    export RUSTFLAGS=$rust CFLAGS=$c
}
