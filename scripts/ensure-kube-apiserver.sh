#!/bin/bash
# Prints the path of a kube-apiserver for the tests, and builds one where there is none.
#
#   ensure-kube-apiserver.sh [DIRECTORY]     DIRECTORY keeps the program (default: target/kube)
#
# Taken as found: the program that CONTINUUM_KUBE_APISERVER names, one in PATH, one built before.
# Otherwise it is built from the source package 'kubernetes' of Debian 12 with Debian's Go, because
# no package holds it: 5 to 10 minutes, about 3 GB on disk meanwhile, nothing installed, apt alone
# asked. On any other system name a program by the variable.
set -euo pipefail

say() { echo "kube-apiserver: $*" >&2; }

directory=${1:-${CARGO_TARGET_DIR:-target}/kube}
# Who runs the program stands elsewhere: cargo runs tests in their own crate's directory.
case $directory in /*) ;; *) directory=$PWD/$directory ;; esac
program=$directory/kube-apiserver

if [ -n "${CONTINUUM_KUBE_APISERVER:-}" ]; then
    [ -x "$CONTINUUM_KUBE_APISERVER" ] || { say "CONTINUUM_KUBE_APISERVER names no program"; exit 1; }
    echo "$CONTINUUM_KUBE_APISERVER"
    exit 0
fi
if command -v kube-apiserver; then exit 0; fi
if [ -x "$program" ]; then
    realpath "$program"
    exit 0
fi
if [ "$(. /etc/os-release 2>/dev/null && echo "${ID:-}${VERSION_ID:-}")" != debian12 ]; then
    say "none found, and it is built on Debian 12 only: set CONTINUUM_KUBE_APISERVER to one"
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
mkdir -p "$directory" "$work"/{lists/partial,cache/archives/partial,parts,shims,source,go}
directory=$(realpath "$directory")

# The system's own package sources, asked for source packages too, in lists of this run alone: the
# system's stay as they are. Both formats of apt are in use.
for file in /etc/apt/sources.list.d/*.sources; do
    if [ -e "$file" ]; then
        sed 's/^Types:.*/Types: deb deb-src/' "$file" >"$work/parts/$(basename "$file")"
    fi
done
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^deb \(.*\)/deb \1\ndeb-src \1/p' >"$work/sources.list" || true
apt() {
    apt-get -q -o APT::Sandbox::User=root -o Dir::Etc::SourceList="$work/sources.list" \
        -o Dir::Etc::SourceParts="$work/parts" -o Dir::State::Lists="$work/lists" \
        -o Dir::Cache="$work/cache" "$@" >&2
}

say "fetching Debian's source and Go"
apt update
(
    cd "$work/go"
    apt download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev
    for package in *.deb; do dpkg-deb -x "$package" .; done
    cd "$work/source"
    apt source --download-only kubernetes
    dpkg-source --no-check -x kubernetes_*.dsc tree >&2
)
go=$work/go/usr/lib/go-1.19
tree=$work/source/tree
# The package links these by absolute paths, which lead nowhere when it is only unpacked.
for part in src api test misc; do ln -sfn "$work/go/usr/share/go-1.19/$part" "$go/$part"; done
ln -sfn "$work/go/usr/share/go-1.19/pkg/include" "$go/pkg/include"

# The source is older than Debian's Go, which it must be mended for. Its copy of reflect2 walks maps
# by a memory layout that Go has left: Debian's own newer one takes its place.
reflect2=$tree/vendor/github.com/modern-go/reflect2
find "$reflect2" -type f -delete
cp "$work"/go/usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$reflect2"
rm -f "$reflect2"/*_test.go
# And two copies of a validator compare with the zero value, which newer Go answers so that "", 0
# and false count as null.
mended=0
while read -r file; do
    sed -i 's/if data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data)) {/if data == nil {/' "$file"
    grep -q 'if data == nil {' "$file" && mended=$((mended + 1))
done < <(find "$tree/vendor/k8s.io/kube-openapi/" "$tree/vendor/github.com/go-openapi/" -path '*validate/type.go')
[ "$mended" -gt 0 ] || { say "the validator is not where it was: another source than expected"; exit 1; }

# The build copies its result with rsync, for which cp does.
printf '#!/bin/sh\n[ "$1" = -pc ] && exec cp -p "$2" "$3"\nexit 1\n' >"$work/shims/rsync"
chmod 755 "$work/shims/rsync"

say "building; 5 to 10 minutes"
mkdir -p "$tree/.go/src/k8s.io"
ln -sfn ../../.. "$tree/.go/src/k8s.io/kubernetes"
(
    cd "$tree"
    env -i HOME="$work" PATH="$work/shims:$go/bin:/usr/sbin:/usr/bin:/sbin:/bin" GOROOT="$go" \
        GOPATH="$tree/.go" GOCACHE="$work/gocache" GOPROXY=off GOFLAGS=-trimpath CGO_ENABLED=0 \
        nice -n 10 make WHAT=cmd/kube-apiserver >&2
)
# Put in place whole: a run that is broken off leaves no half program.
install -m 755 "$tree"/_output/local/bin/linux/*/kube-apiserver "$program.new"
mv "$program.new" "$program"
say "built $("$program" --version)"
echo "$program"
